/**
 * What the balancer thinks of a server, worst first; new connections go to the best. The states and their order are those
 * of current K3s (reference: client load balancer).
 *
 * - `invalid`: left the list. Gets no new connections; kept only until its last one is closed.
 * - `failed`: a dial or a health check failed. Dialled only when nothing better answers.
 * - `standby`: a registration address that the cluster does not list. The last resort that is always there.
 * - `unchecked`: listed, never tried.
 * - `recovering`: answered once, or again; a health check must confirm it before it counts.
 * - `healthy`: confirmed a while ago, not in use.
 * - `preferred`: confirmed less than a minute ago, or demoted by another active server; next in line.
 * - `active`: the one that serves. At most one, so that a client's connections fail over together.
 */
export type ServerState =
  | "invalid"
  | "failed"
  | "standby"
  | "unchecked"
  | "recovering"
  | "healthy"
  | "preferred"
  | "active";

const order: readonly ServerState[] = [
  "invalid",
  "failed",
  "standby",
  "unchecked",
  "recovering",
  "healthy",
  "preferred",
  "active",
];

/** Position in the order of preference, 0 is the worst. Also the value of the health metric. */
export function preference(state: ServerState): number {
  return order.indexOf(state);
}
