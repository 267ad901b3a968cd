// What the SDK leaves to the server of Grafana, or sets although nobody asked.

import type * as dashboard from "@grafana/grafana-foundation-sdk/dashboard";

/** Numbers the panels, so that links to one stay, and drops defaults that say nothing. */
export function tidied(board: dashboard.Dashboard): dashboard.Dashboard {
  (board.panels ?? []).forEach((panel, index) => {
    panel.id = index + 1;
    if ("repeatDirection" in panel && !panel.repeat) delete panel.repeatDirection;
    if ("transparent" in panel && !panel.transparent) delete panel.transparent;
  });
  // In the menu of the controls nobody finds them.
  for (const link of board.links ?? []) delete link.placement;
  for (const variable of board.templating?.list ?? []) {
    if (variable.type !== "interval") {
      delete variable.auto;
      delete variable.auto_min;
      delete variable.auto_count;
    }
  }
  return board;
}
