// Reads custom resources, a JSON array, from stdin. Prints a JSON array with the faults of each: "" for none.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const require = createRequire(import.meta.url);
const homes = {
  PodMonitor: "prometheus-operator/monitoring.coreos.com/v1",
  PrometheusRule: "prometheus-operator/monitoring.coreos.com/v1",
  HTTPRoute: "gateway-api/gateway.networking.k8s.io/v1",
  Certificate: "cert-manager/cert-manager.io/v1",
};

function* keys(value) {
  if (Array.isArray(value)) for (const each of value) yield* keys(each);
  else if (value && typeof value === "object")
    for (const [key, inner] of Object.entries(value)) {
      yield key;
      if (!["matchLabels", "labels", "annotations"].includes(key)) yield* keys(inner);
    }
}

function faults(document) {
  const home = `@kubernetes-models/${homes[document.kind]}/${document.kind}`;
  const Model = require(home)[document.kind];
  try {
    new Model(document).validate();
  } catch (error) {
    return error.message;
  }
  // The schemas allow further keys, as the API server does, which drops them. So look whether the type has each of ours.
  const type = readFileSync(require.resolve(home).replace(/js$/, "d.ts"), "utf8");
  const unknown = [...keys(document.spec)].filter((key) => !new RegExp(`"${key}"\\??:`).test(type));
  return unknown.length ? `unknown: ${unknown}` : "";
}

console.log(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(faults)));
