#!/bin/sh
# Makes Kubernetes' own programs (kube-apiserver, kube-controller-manager, kube-scheduler, kubelet; v1.20) from the source that
# Debian's kubectl is made of, for the tests that hold Keelson against the real ones. Debian has no packages of them.
#
#   scripts/kubernetes-from-debian.sh DIR         DIR gets the programs (needs dpkg-dev, rsync, make and 6 GiB; about 5 minutes on two cores)
#   KUBERNETES_BIN=DIR npm test                   runs those tests too
#
# Nothing is installed: source and compiler are taken from the mirror of this host into a folder beside the programs.
set -eu

[ $# -eq 1 ] || { echo "usage: $0 DIR" >&2; exit 2; }
mkdir -p "$1/build/lists/partial" "$1/build/cache/archives/partial" "$1/build/sources"
bin=$(cd "$1" && pwd)
build=$bin/build
suite=bookworm

# The host's own Debian mirror, source packages included: the one paragraph with the suite itself, not with its updates alone.
cat /etc/apt/sources.list.d/*.sources |
  awk -v RS= -v suite="$suite" '$0 ~ "(^|\n)Suites: " suite "( |\n|$)" { print; exit }' |
  sed -e 's/^Types:.*/Types: deb deb-src/' -e "s/^Suites:.*/Suites: $suite/" > "$build/sources/mirror.sources"
[ -s "$build/sources/mirror.sources" ] || { echo "$0: no sources of Debian $suite in /etc/apt/sources.list.d" >&2; exit 1; }
cat > "$build/apt.conf" <<EOF
Dir::Etc::sourceparts "$build/sources";
Dir::Etc::sourcelist "/dev/null";
Dir::State::Lists "$build/lists";
Dir::Cache "$build/cache";
APT::Sandbox::User "root";
EOF
export APT_CONFIG="$build/apt.conf"
cd "$build"
apt-get update -q
apt-get source -q --download-only kubernetes
apt-get download -q golang-1.19-go golang-1.19-src golang-github-modern-go-reflect2-dev

for package in golang-*.deb; do dpkg -x "$package" go; done
mkdir -p source
tar -C source --strip-components=1 -xzf kubernetes_*.orig.tar.gz
# The copy in the source is older than this compiler, under which it ends kube-apiserver as soon as there are custom resources.
reflect2=github.com/modern-go/reflect2
rm -r "source/vendor/$reflect2"
cp -r "go/usr/share/gocode/src/$reflect2" "source/vendor/$reflect2"
version=$(sed -n 's/^Version: .*really\([0-9.]*\)-.*/\1/p' kubernetes_*.dsc)
cat > version <<EOF
KUBE_GIT_COMMIT=''
KUBE_GIT_TREE_STATE='archive'
KUBE_GIT_VERSION='v$version'
KUBE_GIT_MAJOR='1'
KUBE_GIT_MINOR='$(echo "$version" | cut -d. -f2)'
EOF

programs="kube-apiserver kube-controller-manager kube-scheduler kubelet"
cd source
PATH="$build/go/usr/lib/go-1.19/bin:$PATH" GOCACHE="$build/gocache" GOPROXY=off CGO_ENABLED=0 \
  KUBE_GIT_VERSION_FILE="$build/version" \
  make all WHAT="$(for name in $programs; do printf 'cmd/%s ' "$name"; done)"
for name in $programs; do cp "_output/local/go/bin/$name" "$bin/"; done
"$bin/kube-apiserver" --version
