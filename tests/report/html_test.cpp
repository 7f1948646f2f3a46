#include "report/html.h"

#include <cmath>

#include "tests/test_util.h"

namespace gptq {
namespace html_test {

TEST(Html, TextsAreEscaped) {
  EXPECT_EQ(Escape("<script>\"a\" & 'b'</script>"),
            "&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39;&lt;/script&gt;");
  EXPECT_EQ(Escape(std::string_view("a\0b\x1b\n", 5)),
            "a\xef\xbf\xbd"
            "b\xef\xbf\xbd\n");
  EXPECT_EQ(Escape("é€"), "é€");
  const std::string bad = "<b>";
  for (const std::string& html : {Html(HtmlTable{{bad}, {{bad}}}), FactsHtml({{bad, bad}}), Heading(bad),
                                  Paragraph(bad), Folded(bad, "x")})
    EXPECT_EQ(html.find(bad), std::string::npos) << html;
}

TEST(Html, NumbersAreForPeople) {
  EXPECT_EQ(NumberText(0.123456), "0.1235");
  EXPECT_EQ(NumberText(12345.6), "12346");
  EXPECT_EQ(NumberText(0), "0");
  EXPECT_EQ(NumberText(INFINITY), "–");
  EXPECT_EQ(PercentText(0.98765), "98.77 %");
  EXPECT_EQ(MeasuredText(26.0612, 1.0345), "26.06 ± 1.03");
  EXPECT_EQ(MeasuredText(0.13112, 0.00342), "0.1311 ± 0.0034");
  EXPECT_EQ(MeasuredText(0.26, 0.04408), "0.260 ± 0.044");
  EXPECT_EQ(MeasuredText(1.1291, 0.00614), "1.1291 ± 0.0061");
  EXPECT_EQ(MeasuredText(733682.52, 54321.1), "733683 ± 54321");
  EXPECT_EQ(MeasuredText(9.6e-7, 1.2e-8), "9.6e-07 ± 1.2e-08");
  EXPECT_EQ(MeasuredText(26.0612, {}), "26.06");
  EXPECT_EQ(MeasuredText(1, 0), "1");
  EXPECT_EQ(MeasuredText(26.0612, INFINITY), "26.06");
  EXPECT_EQ(MeasuredText(NAN, 1), "–");
  EXPECT_EQ(CountText(1234567), "1,234,567");
  EXPECT_EQ(CountText(-123), "-123");
  EXPECT_EQ(BytesText(98.4e6), "98.4 MB");
  EXPECT_EQ(BytesText(1.5e9), "1.50 GB");
  EXPECT_EQ(SecondsText(0.0123), "12 ms");
  EXPECT_EQ(SecondsText(9.87), "9.9 s");
  EXPECT_EQ(SecondsText(200), "3 min 20 s");
  EXPECT_EQ(SecondsText(7260), "2 h 01 min");
  EXPECT_EQ(SecondsText(NAN), "–");
}

TEST(Html, NothingIsShownForNothing) {
  EXPECT_EQ(Html(HtmlTable{{"a"}, {}}), "");
  EXPECT_EQ(Folded("title", ""), "");
}

}  // namespace html_test
}  // namespace gptq
