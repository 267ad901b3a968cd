// Where the reader is: everything chosen is in the address, so that links and the back button work.

/** A parameter of the address. */
export const chosenIn = (name: string, otherwise: string): string => new URLSearchParams(location.search).get(name) || otherwise;

/** Changes parameters of the address. An empty list removes one. */
export function go(changes: Record<string, string | string[]>): void {
  const parameters = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(changes)) {
    parameters.delete(name);
    for (const one of [value].flat()) if (one !== "") parameters.append(name, one);
  }
  history.pushState(null, "", `${location.pathname}?${parameters}`);
  dispatchEvent(new PopStateEvent("popstate"));
}

/** Writes into the address what was chosen for a variable that it didn't name. */
export function settle(name: string, value: string): void {
  const parameters = new URLSearchParams(location.search);
  if (parameters.get(name) === value) return;
  parameters.set(name, value);
  history.replaceState(null, "", `${location.pathname}?${parameters}`);
  dispatchEvent(new PopStateEvent("popstate"));
}
