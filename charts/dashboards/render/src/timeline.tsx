// A state timeline. Grafana exports no component for it, so this one is the viewer's own: the same colours and texts.

import { FieldType, dateTimeFormat, getFieldDisplayName } from "@grafana/data";
import type { Drawn } from "./draw.js";

interface Span {
  from: number;
  to: number;
  value: number | null;
}

function spans(times: number[], values: (number | null)[], end: number, step: number): Span[] {
  const found: Span[] = [];
  times.forEach((time, index) => {
    const value = values[index] ?? null;
    const last = found.at(-1);
    const to = Math.min(time + step, end);
    if (last && last.value === value && time <= last.to + step) last.to = to;
    else found.push({ from: time, to, value });
  });
  return found;
}

const MINUTE = 60_000;
/** Between two times of the axis, the shortest first. */
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440].map((minutes) => minutes * MINUTE);
const TICKS_MAX = 8;

/** Round times of the browser's zone, as the graphs have them. */
function ticksOf(from: number, to: number, zone: number): number[] {
  const step = STEPS.find((length) => (to - from) / length <= TICKS_MAX) ?? STEPS.at(-1)!;
  const first = Math.ceil((from + zone) / step) * step - zone;
  return Array.from({ length: Math.floor((to - first) / step) + 1 }, (_, index) => first + index * step);
}

export function Timeline({ frames, range, width, height, theme }: Drawn) {
  const [from, to] = [range.from.valueOf(), range.to.valueOf()];
  const left = 60;
  const x = (time: number): number => left + ((Math.max(time, from) - from) / (to - from)) * (width - left - 8);
  const row = (height - 20) / Math.max(frames.length, 1);
  const ticks = ticksOf(from, to, range.from.utcOffset() * MINUTE);
  const text = { fill: theme.colors.text.primary, fontSize: 12, fontFamily: theme.typography.fontFamily };
  return (
    <svg width={width} height={height}>
      {frames.map((frame, index) => {
        const time = frame.fields.find((field) => field.type === FieldType.time);
        const field = frame.fields.find((other) => other.type === FieldType.number);
        if (!time || !field) return null;
        const top = index * row + row * 0.1;
        return (
          <g key={index}>
            <text x={0} y={top + row * 0.4 + 4} style={text}>{getFieldDisplayName(field, frame, frames)}</text>
            {spans(time.values, field.values, to, time.config.interval ?? 0).map((span) => {
              const shown = field.display!(span.value);
              const wide = x(span.to) - x(span.from);
              return (
                <g key={span.from}>
                  <rect x={x(span.from)} y={top} width={Math.max(wide, 1)} height={row * 0.8} fill={shown.color} opacity={0.85} />
                  {wide > shown.text.length * 8 && (
                    <text x={x(span.from) + 6} y={top + row * 0.4 + 4} style={{ ...text, fill: theme.colors.getContrastText(shown.color ?? "#888") }}>{shown.text}</text>
                  )}
                </g>
              );
            })}
          </g>
        );
      })}
      {ticks.map((tick) => (
        <text key={tick} x={x(tick)} y={height - 4} textAnchor="middle" style={{ ...text, fill: theme.colors.text.secondary }}>
          {dateTimeFormat(tick, { format: "HH:mm" })}
        </text>
      ))}
    </svg>
  );
}
