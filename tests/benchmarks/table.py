"""Print rows of figures as a table."""

from __future__ import annotations

from .harness import CALM, Row

NAME, PEER = 56, 22


def header() -> str:
    return (
        f"{'':{NAME}} {'peer':{PEER}}{'ours ms':>10}{'theirs ms':>11}{'ratio':>7}"
        f"{'(spread)':>14}{'rate':>12}{'of peak':>9}{'must':>7}{'aim':>6}"
    )


def line(row: Row) -> str:
    if "skipped" in row:
        return f"{row['name']:{NAME}} {row['peer']:{PEER}}{row['skipped']}"
    ours, theirs = _amount(row, "ours"), _amount(row, "theirs")
    ratio = f"{row['ratio']:.2f}" if "ratio" in row else ""
    if "figure" in row:
        ratio = f"{row['figure']:.2f}"
    spread = f"({row['low']:.2f}-{row['high']:.2f})" if "low" in row else row.get("unit", "")
    share = f"{row['share_of_peak']:.0%}" if "share_of_peak" in row else ""
    text = f"{row['name']:{NAME}} {row.get('peer', ''):{PEER}}{ours:>10}{theirs:>11}{ratio:>7}"
    text += f"{spread:>14}{_rate(row):>12}{share:>9}"
    if "must" in row:
        verdict = "aim met" if row["aim_met"] else "met" if row["met"] else "BELOW MUST"
        text += f"{row['must']:>7.2f}{row['aim']:>6.2f}  {verdict}"
    return text.rstrip() + (" ~" if row.get("others", 0) > CALM else "")


def _amount(row: Row, side: str) -> str:
    if f"{side}_mb" in row:
        return f"{row[f'{side}_mb']:.0f} MB"
    time = row.get(f"{side}_ms")
    return "" if time is None else f"{time:.3f}" if time < 100 else f"{time:.0f}"


def _rate(row: Row) -> str:
    if "gflops" in row:
        return f"{row['gflops']:.0f} GF/s"
    return f"{row['gbytes']:.1f} GB/s" if "gbytes" in row else ""
