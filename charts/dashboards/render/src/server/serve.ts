// Serves the page, the dashboards, and their data sources, on a free port of 127.0.0.1.
//
// It answers anybody who reaches the port, so it binds to this machine only.

import { readFileSync, readdirSync } from "node:fs";
import { type IncomingMessage, type ServerResponse, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import pg from "pg";

const PAGE = fileURLToPath(new URL("../../dist", import.meta.url));
const DASHBOARDS = fileURLToPath(new URL("../../../../campaign-metrics/files/dashboards", import.meta.url));
const TYPES: Record<string, string> = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".woff2": "font/woff2" };
/** Columns of these types are times, or numbers, as in Grafana's Postgres source. */
const TIME_TYPES = new Set([1082, 1114, 1184]);
const NUMBER_TYPES = new Set([20, 21, 23, 700, 701, 1700]);
/** Milliseconds after which Postgres gives up a query of a panel. */
const STATEMENT_TIMEOUT = 10_000;

/** The font of Grafana, whose widths its components reckon with. */
const FONTS: Record<string, string> = { Regular: "400", Medium: "500" };

/** The order of the menu. */
const ORDER = ["campaigns", "campaign", "account", "leads", "service"];

export function dashboards(): unknown[] {
  const names = readdirSync(DASHBOARDS).filter((name) => name.endsWith(".json"));
  const place = (name: string): number => ORDER.indexOf(name.replace(".json", ""));
  return names.sort((one, other) => place(one) - place(other)).map((name) => JSON.parse(readFileSync(join(DASHBOARDS, name), "utf8")));
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  return Buffer.concat(parts).toString("utf8");
}

function answer(response: ServerResponse, status: number, type: string, body: string | Buffer): void {
  response.writeHead(status, { "content-type": type, "cache-control": "no-store" }).end(body);
}

async function fromPrometheus(prometheus: string, path: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
  // Prometheus lists the values of labels to GET only.
  const get = path.startsWith("label/");
  const asked = await fetch(`${prometheus}/api/v1/${path}`, get ? {} : { method: "POST", body: new URLSearchParams(await bodyOf(request)) });
  answer(response, asked.status, "application/json", await asked.text());
}

async function fromPostgres(pool: pg.Pool | undefined, request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (!pool) return answer(response, 400, "text/plain", "the viewer was started without --postgres");
  const result = await pool.query(await bodyOf(request));
  const columns = result.fields.map(({ name, dataTypeID }) => ({ name, time: TIME_TYPES.has(dataTypeID), number: NUMBER_TYPES.has(dataTypeID) }));
  answer(response, 200, "application/json", JSON.stringify({ columns, rows: result.rows }));
}

function file(path: string, response: ServerResponse): void {
  const modules = fileURLToPath(new URL("../../node_modules", import.meta.url));
  const font = FONTS[/^\/public\/fonts\/inter\/Inter-(\w+)\.woff2$/.exec(path)?.[1] ?? ""];
  if (font) return answer(response, 200, "font/woff2", readFileSync(join(modules, `@fontsource/inter/files/inter-latin-${font}-normal.woff2`)));
  const icon = /^\/public\/build\/(img\/icons\/[a-z]+\/[\w-]+\.svg)$/.exec(path)?.[1];
  if (icon) return answer(response, 200, "image/svg+xml", readFileSync(join(modules, "@grafana/ui/dist/public", icon)));
  const name = normalize(path).replace(/^\/+/, "");
  const page = name === "" || /^d\/[\w-]+$/.test(name);
  if (!page && !/^assets\/[\w.-]+$/.test(name)) return answer(response, 404, "text/plain", "no such page");
  const found = join(PAGE, page ? "index.html" : name);
  answer(response, 200, TYPES[extname(found)] ?? "application/octet-stream", readFileSync(found));
}

/** Starts the server, and returns its address and how to stop it. */
export async function serve(prometheus: string, postgres?: string): Promise<{ url: string; stop: () => Promise<void> }> {
  const pool = postgres
    ? new pg.Pool({ connectionString: postgres, max: 4, options: "-c default_transaction_read_only=on", statement_timeout: STATEMENT_TIMEOUT })
    : undefined;
  pool?.on("error", (error) => console.error(`postgres: ${error.message}`));
  const server = createServer((request, response) => {
    const { pathname, search } = new URL(request.url ?? "/", "http://viewer");
    const act = async (): Promise<void> => {
      if (pathname === "/api/dashboards") return answer(response, 200, "application/json", JSON.stringify(dashboards()));
      if (pathname === "/api/sql") return fromPostgres(pool, request, response);
      if (pathname.startsWith("/api/prometheus/")) return fromPrometheus(prometheus, pathname.slice("/api/prometheus/".length) + search, request, response);
      file(pathname, response);
    };
    act().catch((error: Error) => answer(response, 502, "text/plain", error.message));
  });
  await new Promise<void>((listening) => void server.listen(0, "127.0.0.1", listening));
  const { port } = server.address() as AddressInfo;
  const stop = async (): Promise<void> => {
    server.closeAllConnections();
    await new Promise((closed) => server.close(closed));
    await pool?.end();
  };
  return { url: `http://127.0.0.1:${port}`, stop };
}
