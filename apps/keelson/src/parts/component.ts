import { readFile } from "node:fs/promises";
import { hostname, networkInterfaces } from "node:os";
import { join } from "node:path";
import { ComponentIdentity, type ComponentName, createRegistrationHttpClient } from "@keelson/registration";
import { type Dependencies, dataDirOption, defineOptions, KeelsonError, type OptionValues } from "@keelson/service";

/** Options of every part that runs apart from registration. */
export const componentOptions = defineOptions({
  registration: {
    type: "string",
    env: "KEELSON_REGISTRATION",
    placeholder: "url",
    help: "Registration's internal API, https://host:6445",
  },
  token: {
    type: "string",
    short: "t",
    env: "K3S_TOKEN",
    secret: true,
    help: "Full server token, for the first contact",
  },
  "token-file": {
    type: "string",
    env: "K3S_TOKEN_FILE",
    insteadOf: "token",
    placeholder: "file",
    help: "File with the full server token",
  },
  "component-name": { type: "string", placeholder: "name", help: "Name of this instance (the host name)" },
  "component-san": { type: "list", placeholder: "name", help: "More names for this instance's serving certificate" },
});

export type ComponentValues = OptionValues<typeof componentOptions> & { "data-dir": string };

export const partDataDirOption = defineOptions({
  "data-dir": { ...dataDirOption, help: "Folder of this part's state" },
});

/** The identity of a part that runs apart: enrols with the server token, then keeps its certificates fresh. */
export async function componentIdentity(
  component: ComponentName,
  values: ComponentValues,
  names: readonly string[],
  deps: Dependencies,
): Promise<ComponentIdentity> {
  const url = values.registration;
  if (url === undefined) {
    throw new KeelsonError("option/missing", `a ${component} that runs alone needs --registration`, {
      hint: "give the address of registration, https://host:6445, or run `keelson server`, which has all parts",
    });
  }
  const token = values.token ?? (await tokenIn(values["token-file"]));
  const name = values["component-name"] ?? hostname();
  return new ComponentIdentity(
    {
      component,
      url,
      name,
      names: [...new Set([name, ...names, ...values["component-san"], "localhost", ...hostAddresses()])],
      directory: join(values["data-dir"], component),
      ...(token === undefined ? {} : { token }),
    },
    deps.clock,
    deps.log,
  );
}

/** A registration client that uses the identity's newest certificate. */
export function registrationClientOf(identity: ComponentIdentity, values: ComponentValues) {
  return createRegistrationHttpClient({ url: values.registration!, tls: () => identity.registrationTls });
}

/** Addresses of this host, loopback included. */
export function hostAddresses(): string[] {
  return Object.values(networkInterfaces()).flatMap((list) =>
    (list ?? []).filter(({ address }) => !address.includes("%")).map(({ address }) => address),
  );
}

async function tokenIn(file: string | undefined): Promise<string | undefined> {
  if (file === undefined) return undefined;
  try {
    return (await readFile(file, "utf8")).trim();
  } catch (cause) {
    throw new KeelsonError("option/invalid", `--token-file: cannot read ${file}`, { cause });
  }
}
