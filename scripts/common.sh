# Sourced by ./quickstart and ./test: installs what is missing and builds.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '\n== %s\n' "$*" >&2; }

install_missing() {
  local missing=() package
  while read -r package; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done < "$root/scripts/packages.txt"
  [ ${#missing[@]} -eq 0 ] && return
  say "installing ${missing[*]}"
  local run=()
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
      echo "These Debian packages are missing, and neither root nor sudo is there to install them:" >&2
      printf '  %s\n' "${missing[@]}" >&2
      exit 1
    fi
    run=(sudo)
  fi
  { "${run[@]}" apt-get update -q &&
    "${run[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
  } >/tmp/gptq-install.$$.log 2>&1 ||
    { tail -n 20 /tmp/gptq-install.$$.log >&2; echo "Could not install: ${missing[*]} (log above)" >&2; exit 1; }
  rm -f /tmp/gptq-install.$$.log
}

# build TARGET [FOLDER [cmake options...]]
build() {
  local target=$1 folder=${2:-build}
  shift $(($# < 2 ? $# : 2))
  say "building in $folder/"
  local log=$root/$folder/build.log
  mkdir -p "$root/$folder"
  (cd "$root" && cmake -S . -B "$folder" "$@" >"$log" 2>&1 &&
    cmake --build "$folder" --target "$target" --parallel "$(nproc)" >>"$log" 2>&1) ||
    { tail -n 40 "$log" >&2; echo "The build failed (log: $folder/build.log)" >&2; exit 1; }
}
