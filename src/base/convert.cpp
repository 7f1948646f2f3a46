#include "base/convert.h"
