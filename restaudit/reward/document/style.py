"""The page's one style sheet: light and dark, print, narrow screens; no status is told by colour alone."""

CSS = """
:root{color-scheme:light dark;--ink:#1a1a1a;--soft:#555;--rule:#d4d4d4;--paper:#fff;--band:#f4f4f2;--mark:#0b5394;
--bad:#8a1f11;--badband:#fbeeec}
@media (prefers-color-scheme:dark){:root{--ink:#e8e8e6;--soft:#a9a9a6;--rule:#44444a;--paper:#161618;--band:#212125;
--mark:#8ab8ee;--bad:#ffb3a6;--badband:#33201d}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,"Segoe UI","DejaVu Sans",sans-serif}
main{max-width:60rem;margin:0 auto;padding:1.5rem 1rem 4rem}
h1{font-size:1.6rem;line-height:1.25;margin:.2rem 0 .8rem}
h2{font-size:1.25rem;margin:2.6rem 0 .4rem;padding-top:.5rem;border-top:2px solid var(--ink);break-after:avoid}
h3{font-size:1rem;margin:1.5rem 0 .2rem;break-after:avoid}
p,ul{margin:.35rem 0}
ul{padding-left:1.2rem}
dd,td,li,p{overflow-wrap:break-word}
nav ol{columns:2 18rem;padding-left:1.4rem;margin:.4rem 0}
a{color:var(--mark)}
.verdict{border:3px solid var(--ink);padding:.7rem 1rem;margin:1rem 0}
.verdict strong{display:block;font-size:1.2rem}
.verdict.bad{border-color:var(--bad);background:var(--badband)}
.override{border-left:8px double var(--bad);padding:.3rem .8rem;margin:.6rem 0;font-weight:600}
.failure{border-left:4px solid var(--bad);padding:.1rem 0 .1rem .9rem;margin:1rem 0}
.failure h3{margin-top:.2rem}
.soft{color:var(--soft);font-size:.875rem}
.status{display:inline-block;font-size:.72rem;font-weight:700;letter-spacing:.04em;padding:0 .45em;margin-left:.4em;
border:1.5px solid var(--ink);vertical-align:.1em;white-space:nowrap}
.status.MISSING{border-style:dashed;border-color:var(--bad);color:var(--bad)}
.status.DECLARED{border-style:dotted}
.status.N-A{border-color:var(--rule);color:var(--soft)}
dl{display:grid;grid-template-columns:minmax(9rem,14rem) 1fr;gap:.25rem 1rem;margin:.4rem 0}
dt{color:var(--soft)}
dd{margin:0;min-width:0}
.summary dt{font-weight:600;color:var(--ink)}
.wide{overflow-x:auto;margin:.6rem 0}
table{border-collapse:collapse;width:100%;font-size:.875rem}
caption{text-align:left;font-weight:600;padding:.2rem 0}
th,td{text-align:left;vertical-align:top;padding:.3rem .8rem .3rem 0;border-bottom:1px solid var(--rule)}
th[scope=row]{font-weight:500;min-width:3.5rem}
.t,dd{overflow-wrap:anywhere}
thead th{border-bottom:1.5px solid var(--ink);white-space:nowrap}
td.n{font-variant-numeric:tabular-nums;white-space:nowrap;overflow-wrap:normal}
.t{min-width:11rem}
svg{display:block;max-width:100%;height:auto;margin:.5rem 0}
svg text{fill:var(--ink);font:12px system-ui,"DejaVu Sans",sans-serif}
svg .tick{fill:var(--soft);font-size:11px}
svg .label{paint-order:stroke;stroke:var(--paper);stroke-width:4px;stroke-linejoin:round}
svg .axis{stroke:var(--ink)}
svg .grid{stroke:var(--rule)}
svg .reference{stroke:var(--ink);stroke-dasharray:4 3}
svg .whisker{stroke:var(--mark);stroke-width:2}
svg .dot{fill:var(--mark)}
svg .bare{fill:var(--paper);stroke:var(--mark);stroke-width:2}
blockquote{margin:.35rem 0;padding-left:.8rem;border-left:3px solid var(--rule)}
@media (max-width:36rem){dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:.4rem}main{padding:1rem .8rem 3rem}}
@media print{:root{color-scheme:light;--ink:#000;--soft:#444;--rule:#bbb;--paper:#fff;--mark:#000;--bad:#000;
--badband:#fff}body{font-size:10pt}main{max-width:none;padding:0}nav{display:none}.wide{overflow:visible}
section.topic{break-inside:auto}.answer,.failure,tr{break-inside:avoid}#sections{break-before:page}a{color:inherit}}
"""
