// One dashboard: its variables, rows and panels, asked again every ten seconds.

import { type DataFrame, LoadingState, type TimeRange, dateTime } from "@grafana/data";
import { Combobox, ErrorBoundaryAlert, Field, Input, MultiCombobox, PanelChrome, useTheme2 } from "@grafana/ui";
import { useEffect, useMemo, useState } from "react";
import { type Event, events as ask, frames, options as optionsOf } from "./ask.js";
import { Draw } from "./draw.js";
import { configured, transformed } from "./fields.js";
import { ALL, type Chosen, type Times, instant, resolved } from "./fill.js";
import type { Dashboard, Panel } from "./model.js";
import { chosenIn, go, settle } from "./place.js";

const REFRESH = 10_000;
const CELL = 38;
const GAP = 8;
/** Width of a variable in units of 8 pixels: five, those of the leads, fit beside each other on a page of 1280. */
const CHOICE = 29;

/** Panels that can't be drawn, with the reason. Pictures fail if there is one. */
const failures: string[] = [];
(window as any).failures = failures;

/** How many panels still wait for their first data. Pictures are taken once there are none. */
const waiting = new Set<string>();
(window as any).waiting = waiting;

interface Seen {
  frames: DataFrame[];
  times: Times;
  error?: string;
}

function useEvery(milliseconds: number): number {
  const [count, setCount] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => setCount((old) => old + 1), milliseconds);
    return () => clearInterval(timer);
  }, [milliseconds]);
  return count;
}

function Content({ panel, chosen, events, seen, width, height }: { panel: Panel; chosen: Chosen; events: Event[]; seen: Seen; width: number; height: number }) {
  const theme = useTheme2();
  const drawn = useMemo(() => configured(panel, seen.frames, { theme, chosen }), [panel, seen, theme, chosen]);
  const [from, to] = [dateTime(seen.times.from * 1000), dateTime(seen.times.to * 1000)];
  const range: TimeRange = { from, to, raw: { from, to } };
  return <Draw panel={panel} frames={drawn} events={events} range={range} width={width} height={height} theme={theme} chosen={chosen} />;
}

function Shown({ panel, board, chosen, events, round, left, top, width }: { panel: Panel; board: Dashboard; chosen: Chosen; events: Event[]; round: number; left: number; top: number; width: number }) {
  const [seen, setSeen] = useState<Seen>();
  const key = `${board.uid}/${panel.id}`;
  useEffect(() => {
    let current = true;
    waiting.add(key);
    const now = Date.now() / 1000;
    const times = { from: instant(chosenIn("from", board.time.from), now), to: instant(chosenIn("to", board.time.to), now) };
    frames(panel, chosen, times, width)
      .then((answer) => transformed(panel, answer))
      .then((answer) => current && setSeen({ frames: answer, times }))
      .catch((error: Error) => {
        failures.push(`${panel.title}: ${error.message}`);
        if (current) setSeen({ frames: [], times, error: error.message });
      })
      .finally(() => waiting.delete(key));
    return () => void (current = false);
  }, [panel, board, chosen, round, width, key]);
  const height = panel.gridPos.h * CELL - GAP;
  return (
    <div style={{ position: "absolute", left, top }}>
      <PanelChrome
        title={panel.title}
        description={panel.description}
        width={width}
        height={height}
        padding={panel.type === "table" ? "none" : "md"}
        loadingState={seen ? LoadingState.Done : LoadingState.Loading}
        statusMessage={seen?.error}
      >
        {(innerWidth, innerHeight) =>
          seen?.error !== undefined ? (
            <div className="empty">{seen.error}</div>
          ) : seen && (
            <ErrorBoundaryAlert dependencies={[seen]}>
              <Content panel={panel} chosen={chosen} events={panel.type === "timeseries" ? events : []} seen={seen} width={innerWidth} height={innerHeight} />
            </ErrorBoundaryAlert>
          )
        }
      </PanelChrome>
    </div>
  );
}

/** Reads the options of all variables, and chooses the first of each where the address names none. */
function useChosen(board: Dashboard, round: number): { chosen?: Chosen; options: Record<string, string[]> } {
  const [state, setState] = useState<{ chosen?: Chosen; options: Record<string, string[]> }>({ options: {} });
  useEffect(() => {
    let current = true;
    const choose = async (): Promise<void> => {
      const variables = board.templating.list;
      const options: Record<string, string[]> = {};
      const times = { from: Date.now() / 1000 - 86400, to: Date.now() / 1000 };
      const picked: Chosen = { datasource: "default", __url_time_range: `from=${chosenIn("from", board.time.from)}&to=${chosenIn("to", board.time.to)}` };
      for (const variable of variables) {
        const named = new URLSearchParams(location.search).getAll(`var-${variable.name}`);
        if (variable.type === "textbox") picked[variable.name] = named[0] ?? "";
        if (variable.type !== "query") continue;
        const list = (options[variable.name] = await optionsOf(variable, resolved(picked, variables, options), times));
        const usable = named.filter((value) => value !== "");
        if (variable.multi) {
          picked[variable.name] = usable.length > 0 ? usable : [ALL];
        } else {
          picked[variable.name] = usable[0] ?? list[0] ?? "";
          // Links name single choices, so they have to be in the address.
          if (current && picked[variable.name] !== "") settle(`var-${variable.name}`, String(picked[variable.name]));
        }
      }
      const chosen = resolved(picked, variables, options);
      if (current) setState((old) => (JSON.stringify(old.chosen) === JSON.stringify(chosen) ? old : { chosen, options }));
    };
    choose().catch((error: Error) => console.error(error));
    return () => void (current = false);
  }, [board, round]);
  return state;
}

function Choices({ board, options }: { board: Dashboard; options: Record<string, string[]> }) {
  const shown = board.templating.list.filter((variable) => variable.type !== "datasource");
  const named = (name: string): string[] => new URLSearchParams(location.search).getAll(`var-${name}`);
  return (
    <>
      {shown.map((variable) => {
        const list = (options[variable.name] ?? []).map((value) => ({ value, label: value }));
        const set = (values: string[]): void => go({ [`var-${variable.name}`]: values });
        return (
          <Field key={variable.name} label={variable.label ?? variable.name} noMargin>
            {variable.type === "textbox" ? (
              <Input width={CHOICE} defaultValue={named(variable.name)[0] ?? ""} onBlur={(event) => set([event.currentTarget.value])} />
            ) : variable.multi ? (
              <MultiCombobox width={CHOICE} options={list} value={named(variable.name)} placeholder="All" onChange={(picked) => set(picked.map(({ value }) => value))} />
            ) : (
              <Combobox width={CHOICE} options={list} value={named(variable.name)[0] ?? list[0]?.value ?? null} onChange={(picked) => set([picked.value])} />
            )}
          </Field>
        );
      })}
    </>
  );
}

export function Board({ board, width }: { board: Dashboard; width: number }) {
  const round = useEvery(REFRESH);
  const { chosen, options } = useChosen(board, round);
  const [events, setEvents] = useState<Event[]>([]);
  useEffect(() => {
    if (!chosen) return;
    const now = Date.now() / 1000;
    const times = { from: instant(chosenIn("from", board.time.from), now), to: now };
    Promise.all((board.annotations?.list ?? []).map((annotation) => ask(annotation, chosen, times)))
      .then((found) => setEvents(found.flat()))
      .catch((error: Error) => console.error(error));
  }, [board, chosen, round]);
  const column = (width + GAP) / 24;
  const bottom = Math.max(...board.panels.map(({ gridPos }) => gridPos.y + gridPos.h));
  return (
    <>
      <div className="choices">
        <Choices key={location.search} board={board} options={options} />
      </div>
      <div style={{ position: "relative", width, height: bottom * CELL }}>
        {chosen &&
          board.panels.map((panel) => {
            const [left, top] = [panel.gridPos.x * column, panel.gridPos.y * CELL];
            if (panel.type === "row") return <h2 key={panel.id} className="row" style={{ top }}>{panel.title}</h2>;
            const of = Math.round(panel.gridPos.w * column - GAP);
            return <Shown key={panel.id} panel={panel} board={board} chosen={chosen} events={events} round={round} left={left} top={top} width={of} />;
          })}
      </div>
    </>
  );
}
