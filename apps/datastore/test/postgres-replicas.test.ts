import { lacks, startPostgres } from "@keelson/conformance";
import { describe } from "vitest";
import { describeReplicas } from "./replicas-behaviour.ts";

describe.skipIf(lacks("initdb", "postgres"))("on PostgreSQL", () => {
  describeReplicas(startPostgres);
});
