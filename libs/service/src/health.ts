/** One named check. Throws, or returns a sentence, when unhealthy. */
export type HealthCheck = () => Promise<string | undefined> | string | undefined;

export type HealthEndpoint = "livez" | "readyz";

export interface HealthReport {
  /** 200 or 500, as kube-apiserver answers (etcd-style parts map 500 to 503 themselves). */
  status: 200 | 500;
  /** `text/plain` body: `ok`, or the verbose listing. */
  body: string;
}

/**
 * `/livez`, `/readyz` and `/healthz` in kube-apiserver's format: `?verbose`, `?exclude=name`, `/readyz/<name>`.
 * Source: k8s.io/apiserver healthz conventions.
 */
export class Health {
  readonly #checks: Record<HealthEndpoint, Map<string, HealthCheck>> = { livez: new Map(), readyz: new Map() };
  readonly #timeoutMs: number;

  constructor(timeoutMs = 2_000) {
    this.#timeoutMs = timeoutMs;
    this.#checks.livez.set("ping", () => undefined);
    this.#checks.readyz.set("ping", () => undefined);
  }

  /** Adds a check to readiness, and to liveness too where a restart would help. */
  add(name: string, check: HealthCheck, endpoints: readonly HealthEndpoint[] = ["readyz"]): void {
    for (const endpoint of endpoints) this.#checks[endpoint].set(name, check);
  }

  /** Answers a request path such as `/readyz`, `/readyz/ping` or `/healthz?verbose`; undefined when it is not ours. */
  async handle(url: string): Promise<HealthReport | undefined> {
    // As text and not as a reference, which "//x" would make a host of.
    const target = URL.parse(`http://localhost${url}`);
    if (target === null) return undefined;
    const { pathname, searchParams } = target;
    const [, root, name, ...rest] = pathname.split("/");
    if (root !== "livez" && root !== "readyz" && root !== "healthz") return undefined;
    if (rest.length > 0) return undefined;
    const checks = this.#checks[root === "livez" ? "livez" : "readyz"];
    if (name !== undefined && name !== "" && !checks.has(name)) return undefined;
    const excluded = new Set(searchParams.getAll("exclude"));
    const selected = [...checks].filter(([key]) => (name ? key === name : !excluded.has(key)));
    const results = await Promise.all(selected.map(async ([key, check]) => ({ key, problem: await this.#run(check) })));
    const failed = results.some((result) => result.problem !== undefined);
    const lines = results.map(({ key, problem }) =>
      problem === undefined ? `[+]${key} ok` : `[-]${key} failed: ${problem}`,
    );
    for (const key of excluded) if (checks.has(key)) lines.push(`[+]${key} excluded: ok`);
    const verbose = searchParams.has("verbose") || failed;
    const verdict = failed ? `${root} check failed` : verbose ? `${root} check passed` : "ok";
    return { status: failed ? 500 : 200, body: verbose ? `${lines.join("\n")}\n${verdict}\n` : verdict };
  }

  async #run(check: HealthCheck): Promise<string | undefined> {
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<string>((resolve) => {
      timer = setTimeout(() => resolve(`no answer within ${this.#timeoutMs} ms`), this.#timeoutMs);
    });
    try {
      return await Promise.race([Promise.resolve(check()), timeout]);
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    } finally {
      clearTimeout(timer);
    }
  }
}
