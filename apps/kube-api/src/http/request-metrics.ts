import type { ServerResponse } from "node:http";
import { type Clock, Counter, Gauge, Histogram, type Registry } from "@keelson/service";
import type { KindCatalog } from "../kinds/catalog.ts";
import type { RequestInfo } from "./request-info.ts";

const verbNames: Readonly<Record<string, string>> = { create: "POST", update: "PUT" };
const longRunning = new Set(["WATCH", "CONNECT"]);
const labelNames = ["verb", "group", "version", "resource", "subresource", "scope"] as const;

type Labels = Record<(typeof labelNames)[number], string>;

/** Requests under kube-apiserver's metric names. Source: apiserver pkg/endpoints/metrics. */
export class RequestMetrics {
  readonly #catalog: KindCatalog;
  readonly #clock: Clock;
  readonly #total: Counter;
  readonly #duration: Histogram;
  readonly #longRunning: Gauge;

  constructor(catalog: KindCatalog, clock: Clock, registry: Registry) {
    this.#catalog = catalog;
    this.#clock = clock;
    const registers = [registry];
    this.#total = new Counter({
      name: "apiserver_request_total",
      help: "Requests to the Kubernetes API by what they asked for and the HTTP status of the answer",
      labelNames: [...labelNames, "code"],
      registers,
    });
    this.#duration = new Histogram({
      name: "apiserver_request_duration_seconds",
      help: "Time to the end of the answer, without watches and connections to nodes",
      labelNames: ["verb", "resource"],
      buckets: [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
      registers,
    });
    this.#longRunning = new Gauge({
      name: "apiserver_longrunning_requests",
      help: "Watches and connections to nodes that are open",
      labelNames: [...labelNames],
      registers,
    });
  }

  /** Counts the request when its response is closed. */
  observe(info: RequestInfo | undefined, response: ServerResponse): void {
    const labels = this.#labels(info);
    const startedAtMs = this.#clock.monotonic();
    const isLong = longRunning.has(labels.verb);
    if (isLong) this.#longRunning.inc(labels);
    response.once("close", () => {
      this.#total.inc({ ...labels, code: String(response.statusCode) });
      if (isLong) this.#longRunning.dec(labels);
      else {
        const { verb, resource } = labels;
        this.#duration.observe({ verb, resource }, (this.#clock.monotonic() - startedAtMs) / 1_000);
      }
    });
  }

  /** Only what is served becomes a label: a client cannot make new ones. */
  #labels(info: RequestInfo | undefined): Labels {
    const none = { verb: "", group: "", version: "", resource: "", subresource: "", scope: "" };
    if (info === undefined) return none;
    if (!info.isResource) return { ...none, verb: info.verb === "get" ? "GET" : "other" };
    const verb = verbNames[info.verb] ?? info.verb.toUpperCase();
    const kind = this.#catalog.find(info.group, info.version, info.resource);
    if (kind === undefined) return { ...none, verb };
    const { group, version, resource, namespace, name } = info;
    const subresource = kind.subresources?.includes(info.subresource ?? "") ? (info.subresource ?? "") : "";
    const scope = name !== undefined ? "resource" : namespace !== undefined ? "namespace" : "cluster";
    return { verb, group, version, resource, subresource, scope };
  }
}
