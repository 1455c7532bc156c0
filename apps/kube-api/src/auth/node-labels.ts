/**
 * The labels of its own Node that a kubelet may not set: those kept for administrators, and the ones in Kubernetes' domains
 * that no kubelet is known to set (roles above all, which draw privileged pods).
 * Source: kubernetes plugin/pkg/admission/noderestriction and k8s.io/kubelet/pkg/apis/well_known_labels.go.
 */
export function isForbiddenToNodes(label: string): boolean {
  const slash = label.indexOf("/");
  const domain = slash < 0 ? "" : label.slice(0, slash);
  if (isWithin(domain, "node-restriction.kubernetes.io")) return true;
  if (!isWithin(domain, "kubernetes.io") && !isWithin(domain, "k8s.io")) return false;
  return !kubeletLabels.has(label) && !kubeletDomains.some((own) => isWithin(domain, own));
}

function isWithin(domain: string, parent: string): boolean {
  return domain === parent || domain.endsWith(`.${parent}`);
}

const kubeletDomains = ["kubelet.kubernetes.io", "node.kubernetes.io"];

const kubeletLabels: ReadonlySet<string> = new Set([
  "kubernetes.io/hostname",
  "kubernetes.io/os",
  "kubernetes.io/arch",
  "beta.kubernetes.io/os",
  "beta.kubernetes.io/arch",
  "beta.kubernetes.io/instance-type",
  "failure-domain.beta.kubernetes.io/zone",
  "failure-domain.beta.kubernetes.io/region",
  "topology.kubernetes.io/zone",
  "topology.kubernetes.io/region",
]);
