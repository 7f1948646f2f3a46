#include "report/page.h"

#include "report/html.h"

namespace gptq {
namespace {

// Series colours: Okabe and Ito's, told apart by most eyes, lightened in the dark.
constexpr const char* kStyle = R"css(
:root { color-scheme: light dark; --ground: #fff; --card: #f6f7f9; --ink: #1b1f24; --quiet: #5b6570; --line: #d5dae0;
  --k0: #0072b2; --k1: #d55e00; --k2: #009e73; --k3: #b0529a; --k4: #9a7400; --k5: #2f9fd8; --k6: #000; --k7: #8a8f98; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #14171b; --card: #1c2127; --ink: #e6e9ed; --quiet: #9aa5b1; --line: #363d46;
    --k0: #4aa8e8; --k1: #ff8a3d; --k2: #2fcf9e; --k3: #e08acb; --k4: #e0b93a; --k5: #8fd3ff; --k6: #fff; --k7: #8a8f98; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1rem; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: .5rem 0 1rem; }
h2 { font-size: 1.2rem; margin: 1.5rem 0 .75rem; }
section + section { border-top: 1px solid var(--line); margin-top: 2rem; }
p { max-width: 44rem; color: var(--quiet); margin: .5rem 0; }
dl { display: grid; grid-template-columns: fit-content(45%) minmax(0, 1fr); gap: .2rem 1rem; margin: .75rem 0; font-size: .92rem; }
dt { color: var(--quiet); }
dd { margin: 0; overflow-wrap: anywhere; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)); gap: 1rem;
  margin: 1rem 0; }
figure { margin: 0; padding: .75rem; background: var(--card); border-radius: .5rem; min-width: 0; }
figcaption { font-size: .95rem; font-weight: 600; margin-bottom: .4rem; }
svg { display: block; width: 100%; height: auto; }
svg text { font-size: 12px; fill: var(--quiet); }
svg .end { text-anchor: end; }
svg .middle { text-anchor: middle; }
.grid line { stroke: var(--line); }
.series line { stroke: var(--k); stroke-width: 1.2; stroke-opacity: .65; }
polyline { fill: none; stroke: var(--k); stroke-width: 1.6; stroke-linejoin: round; }
circle, rect { fill: var(--k); }
.legend { display: flex; flex-wrap: wrap; gap: .1rem .9rem; list-style: none; margin: .4rem 0 0; padding: 0;
  font-size: .82rem; }
.legend li::before { content: ""; display: inline-block; width: .75em; height: .75em; margin-right: .35em;
  border-radius: 2px; background: var(--k); }
.c0 { --k: var(--k0); } .c1 { --k: var(--k1); } .c2 { --k: var(--k2); } .c3 { --k: var(--k3); }
.c4 { --k: var(--k4); } .c5 { --k: var(--k5); } .c6 { --k: var(--k6); } .c7 { --k: var(--k7); }
.wide { overflow-x: auto; margin: .75rem 0; }
table { border-collapse: separate; border-spacing: 0; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--quiet); font-weight: 600; white-space: normal; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; padding-left: 0; position: sticky; left: 0; background: var(--ground); }
.text td { white-space: pre-wrap; text-align: left; overflow-wrap: anywhere; min-width: 5rem; vertical-align: top; }
.text td:nth-child(2) { min-width: 15rem; }
.text th { text-align: left; }
summary { cursor: pointer; color: var(--quiet); margin: .75rem 0; }
)css";

// Pages are known by it: what may be replaced is asked of those of earlier versions too.
constexpr const char* kStart =
    "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    // Nothing is fetched, whatever a text in it says.
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
    "'unsafe-inline'\">\n"
    "<title>";

}  // namespace

bool IsPage(std::string_view text, std::string_view title) {
  return text.starts_with(kStart) && text.substr(std::string_view(kStart).size()).starts_with(title);
}

std::string Page(const std::string& title, const std::string& body) {
  return kStart + Escape(title) + "</title>\n<style>" + kStyle + "</style>\n</head>\n<body>\n<h1>" +
         Escape(title) + "</h1>\n" + body + "</body>\n</html>\n";
}

}  // namespace gptq
