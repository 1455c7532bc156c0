/** Small SVG charts for bench reports: enough for bars and lines, no dependency. */

const colours = ["#4c78a8", "#f58518", "#54a24b", "#b279a2", "#e45756"];
const font = 'font-family="sans-serif" font-size="12"';
const height = 260;
const margin = { top: 40, right: 20, bottom: 50, left: 60 };

export interface BarChart {
  title: string;
  groups: readonly string[];
  /** One value a group; undefined leaves a hole. */
  series: readonly { name: string; values: readonly (number | undefined)[] }[];
  /** Drawn as a mark over its group: what the value must reach. */
  bars?: readonly (number | undefined)[];
}

export interface LineChart {
  title: string;
  xLabel: string;
  series: readonly { name: string; points: readonly (readonly [number, number])[] }[];
}

/** Charts below each other in one document. */
export function svgDocument(charts: readonly (BarChart | LineChart)[], width = 900): string {
  const parts = charts.map((chart, index) => {
    const body = "groups" in chart ? barChart(chart, width) : lineChart(chart, width);
    return `<g transform="translate(0 ${index * height})">${body}</g>`;
  });
  const total = charts.length * height;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${total}" viewBox="0 0 ${width} ${total}">
<rect width="100%" height="100%" fill="white"/>
${parts.join("\n")}
</svg>
`;
}

function barChart({ title, groups, series, bars }: BarChart, width: number): string {
  const largest = Math.max(
    1,
    ...series.flatMap(({ values }) => values.map((value) => value ?? 0)),
    ...(bars ?? []).map((bar) => bar ?? 0),
  );
  const y = scale(largest);
  const groupWidth = (width - margin.left - margin.right) / groups.length;
  const barWidth = (groupWidth * 0.8) / series.length;
  const drawn = groups.flatMap((group, groupIndex) => {
    const x = margin.left + groupIndex * groupWidth + groupWidth * 0.1;
    const columns = series.map(({ values }, index) => {
      const value = values[groupIndex];
      if (value === undefined) return "";
      const at = x + index * barWidth;
      return `<rect x="${fixed(at)}" y="${fixed(y(value))}" width="${fixed(barWidth - 2)}" height="${fixed(y(0) - y(value))}" fill="${colours[index % colours.length]}"/>
<text x="${fixed(at + barWidth / 2)}" y="${fixed(y(value) - 3)}" text-anchor="middle" font-family="sans-serif" font-size="9">${value.toFixed(2)}</text>`;
    });
    const bar = bars?.[groupIndex];
    const mark =
      bar === undefined
        ? ""
        : `<line x1="${fixed(x - 4)}" x2="${fixed(x + groupWidth * 0.8 + 4)}" y1="${fixed(y(bar))}" y2="${fixed(y(bar))}" stroke="black" stroke-dasharray="4 2"/>`;
    const label = `<text x="${fixed(x + groupWidth * 0.4)}" y="${height - margin.bottom + 16}" text-anchor="middle" ${font}>${escapeXml(group)}</text>`;
    return [...columns, mark, label];
  });
  return frame(title, series, largest, y, width) + drawn.join("\n");
}

function lineChart({ title, xLabel, series }: LineChart, width: number): string {
  const all = series.flatMap(({ points }) => points);
  const largest = Math.max(1, ...all.map(([, value]) => value));
  const y = scale(largest);
  const lastX = Math.max(1, ...all.map(([at]) => at));
  const x = (at: number): number => margin.left + (at / lastX) * (width - margin.left - margin.right);
  const lines = series.map(
    ({ points }, index) =>
      `<polyline fill="none" stroke-width="2" stroke="${colours[index % colours.length]}" points="${points.map(([at, value]) => `${fixed(x(at))},${fixed(y(value))}`).join(" ")}"/>`,
  );
  const label = `<text x="${width / 2}" y="${height - margin.bottom + 20}" text-anchor="middle" ${font}>${escapeXml(xLabel)} (0 to ${fixed(lastX)})</text>`;
  return frame(title, series, largest, y, width) + lines.join("\n") + label;
}

function frame(
  title: string,
  series: readonly { name: string }[],
  largest: number,
  y: (value: number) => number,
  width: number,
): string {
  const legend = series.map(
    ({ name }, index) =>
      `<rect x="${margin.left + index * 120}" y="24" width="10" height="10" fill="${colours[index % colours.length]}"/><text x="${margin.left + 14 + index * 120}" y="33" ${font}>${escapeXml(name)}</text>`,
  );
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((share) => {
    const value = largest * share;
    return `<line x1="${margin.left}" x2="${width - margin.right}" y1="${fixed(y(value))}" y2="${fixed(y(value))}" stroke="#ddd"/><text x="${margin.left - 6}" y="${fixed(y(value) + 4)}" text-anchor="end" ${font}>${largest < 10 ? value.toFixed(2) : Math.round(value)}</text>`;
  });
  return `<text x="${margin.left}" y="16" font-weight="bold" ${font}>${escapeXml(title)}</text>${legend.join("")}${ticks.join("")}`;
}

function scale(largest: number): (value: number) => number {
  return (value) => height - margin.bottom - (value / largest) * (height - margin.top - margin.bottom - 10);
}

function fixed(value: number): string {
  return String(Math.round(value * 10) / 10);
}

function escapeXml(text: string): string {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}
