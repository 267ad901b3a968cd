// The page: a list of the dashboards, one of them, a switch between light and dark.

import { createTheme } from "@grafana/data";
import { GlobalStyles, RadioButtonGroup, ThemeContext } from "@grafana/ui";
import { useEffect, useMemo, useState } from "react";
import { createRoot } from "react-dom/client";
import { Board } from "./board.js";
import { fill } from "./fill.js";
import type { Dashboard } from "./model.js";
import { chosenIn, go } from "./place.js";
import "./page.css";

const RANGES = ["now-15m", "now-30m", "now-1h", "now-6h", "now-24h"].map((value) => ({ value, label: value.slice(4) }));
const THEMES = [
  { value: "light", label: "Light" },
  { value: "dark", label: "Dark" },
];

/** Renders again when the address or the width changes. */
function usePage(): { uid: string; search: string; width: number } {
  const read = () => ({ uid: /^\/d\/([\w-]+)/.exec(location.pathname)?.[1] ?? "", search: location.search, width: document.documentElement.clientWidth });
  const [page, setPage] = useState(read);
  useEffect(() => {
    const changed = (): void => setPage(read());
    addEventListener("popstate", changed);
    addEventListener("resize", changed);
    return () => {
      removeEventListener("popstate", changed);
      removeEventListener("resize", changed);
    };
  }, []);
  return page;
}

function Page() {
  const page = usePage();
  const [boards, setBoards] = useState<Dashboard[]>([]);
  useEffect(() => {
    fetch("/api/dashboards").then((answer) => answer.json()).then(setBoards);
  }, []);
  const mode = chosenIn("theme", localStorage.getItem("theme") ?? "dark");
  const theme = useMemo(() => createTheme({ colors: { mode: mode === "light" ? "light" : "dark" } }), [mode]);
  const board = boards.find(({ uid }) => uid === page.uid) ?? boards[0];
  useEffect(() => void (document.title = board ? `${board.title} - Campaign Metrics` : "Campaign Metrics"), [board]);
  // Links of a dashboard name its variables by reference.
  const chosen = Object.fromEntries([...new URLSearchParams(page.search)].filter(([name]) => name.startsWith("var-")).map(([name, value]) => [name.slice(4), value]));
  return (
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <div className="page" style={{ background: theme.colors.background.canvas, color: theme.colors.text.primary }}>
        <header>
          <nav>
            {boards.map(({ uid, title }) => (
              <a key={uid} href={`/d/${uid}`} style={{ color: theme.colors.text.link, fontWeight: uid === board?.uid ? 700 : 400 }}>{title}</a>
            ))}
            {(board?.links ?? []).filter(({ type }) => type === "link").map(({ title, url }) => (
              <a key={title} href={fill(url ?? "", chosen)} style={{ color: theme.colors.text.link }}>{title} →</a>
            ))}
          </nav>
          <RadioButtonGroup size="sm" options={RANGES} value={chosenIn("from", board?.time.from ?? "now-6h")} onChange={(from) => go({ from })} />
          <RadioButtonGroup
            size="sm"
            options={THEMES}
            value={mode}
            onChange={(value) => {
              localStorage.setItem("theme", value);
              go({ theme: value });
            }}
          />
        </header>
        {board && <h1>{board.title}</h1>}
        {board && <Board key={board.uid} board={board} width={page.width - 32} />}
      </div>
    </ThemeContext.Provider>
  );
}

createRoot(document.getElementById("root")!).render(<Page />);
