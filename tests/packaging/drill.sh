#!/bin/sh
# drill.sh ROOT.tar PACKAGE.deb FOLDER: install the package in a minimal Debian below FOLDER and use the
# service the way systemd would start it. Runs in mount, process and network namespaces of its own, so
# nothing it starts or mounts outlives it, port 8080 is always free, and no network can be reached.
set -eu
archive=$1 deb=$2 root=$3/root
step() { echo "--- $*"; }
notify=''
inside() { chroot "$root" "$@"; }
# Becomes the command, so that in the background $! is the service itself.
become_service() {
    exec chroot "$root" setpriv --reuid=_voidllm --regid=_voidllm --init-groups env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        HOME=/var/lib/voidllm ${notify:+NOTIFY_SOCKET=$notify} sh -c 'umask 0077; cd /var/lib/voidllm; exec "$@"' service "$@"
}
as_service() { (become_service "$@"); }

step "a minimal Debian"
mkdir "$root"
tar -xf "$archive" -C "$root" --numeric-owner --exclude='./dev/*'
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
python3 - <<'EOF'
import fcntl, socket, struct
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
    SIOCSIFFLAGS, IFF_UP = 0x8914, 1
    fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
EOF

step "install"
cp "$deb" "$root/tmp/voidllm.deb"
inside env DEBIAN_FRONTEND=noninteractive apt-get -q -y install /tmp/voidllm.deb
inside id _voidllm
inside stat -c '%n %a %U %G' /etc/voidllm/voidllm.yaml /usr/lib/voidllm/bin/twistd
inside voidllm version
inside zgrep -q '^``state_dir``' /usr/share/doc/voidllm/configuration.rst.gz
inside /usr/lib/voidllm/bin/twistd --help | grep '^ *voidllm '

step "the unit is as closed as it can be"
inside systemd-analyze security --offline=true --threshold=15 /lib/systemd/system/voidllm.service | tail -n 1

step "start as the unit says"
command=$(sed -n 's/^ExecStart=//p' "$root/lib/systemd/system/voidllm.service")
# StateDirectory= of the unit.
inside install -d -m 0700 -o _voidllm -g _voidllm /var/lib/voidllm
as_service voidllm check-config
# What systemd does for Type=notify: listen, and take the service for started when it says so.
notify=/run/notify
python3 - "$root$notify" <<'EOF' &
import os, socket, sys
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
    listener.bind(sys.argv[1] + ".new")
    os.chmod(sys.argv[1] + ".new", 0o666)
    os.rename(sys.argv[1] + ".new", sys.argv[1])
    listener.settimeout(60)
    while b"READY=1" not in listener.recv(4096).split(b"\n"):
        pass
EOF
systemd=$!
until [ -S "$root$notify" ]; do kill -0 "$systemd"; done
# shellcheck disable=SC2086
become_service $command >"$3/service.log" 2>&1 &
service=$!
notify=''
wait "$systemd" || { cat "$3/service.log"; exit 1; }
curl -sS -f http://127.0.0.1:8080/readyz

step "ask demo"
credentials=$root/var/lib/voidllm/first-credentials.json
stat -c '%n %a' "$credentials"
[ "$(stat -c %a "$credentials")" = 600 ]
key=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["api_key"])' "$credentials")
curl -sS -f http://127.0.0.1:8080/v1/chat/completions -H "Authorization: Bearer $key" \
    -H 'Content-Type: application/json' -d '{"model":"demo","messages":[{"role":"user","content":"hello"}]}' \
    >"$3/answer.json"
curl -sS -f -N http://127.0.0.1:8080/v1/chat/completions -H "Authorization: Bearer $key" \
    -H 'Content-Type: application/json' \
    -d '{"model":"demo","stream":true,"messages":[{"role":"user","content":"hello"}]}' >"$3/answer.sse"
tail -n 2 "$3/answer.sse" | grep -F 'data: [DONE]'

step "the benchmark suite, beside the running service, as somebody who may write nothing of it"
[ ! -e "$root/usr/bin/cc" ]
status=0
inside setpriv --reuid=65534 --regid=65534 --clear-groups env -i PATH=/usr/bin:/bin HOME=/nonexistent \
    voidllm bench quick --duration 1s --rps 100 --json - >"$3/bench.json" 2>"$3/bench.log" || status=$?
# 1: measured, but a busy machine makes the figures no figures; the test looks at the document.
[ "$status" -le 1 ] || { cat "$3/bench.log"; exit 1; }
grep -l -a _bench /proc/[0-9]*/cmdline && exit 1
[ -z "$(ls "$root"/tmp | grep voidllm-bench || :)" ]
kill -0 "$service"
curl -sS -f http://127.0.0.1:8080/readyz
status=0
inside voidllm bench quick --duration 1s --html /tmp/page.html 2>"$3/bench.log" || status=$?
cat "$3/bench.log"
[ "$status" = 2 ] && grep -q 'matplotlib' "$3/bench.log"

step "stop"
kill -TERM "$service"
wait "$service"
as_service voidllm usage --json >"$3/usage.json"

step "upgrade keeps the configuration, purge forgets"
echo '# edited' >>"$root/etc/voidllm/voidllm.yaml"
inside env DEBIAN_FRONTEND=noninteractive dpkg -i /tmp/voidllm.deb
grep '^# edited' "$root/etc/voidllm/voidllm.yaml"
inside dpkg --purge voidllm
[ ! -e "$root/var/lib/voidllm" ] && [ ! -e "$root/etc/voidllm" ] && [ ! -e "$root/usr/lib/voidllm" ]
step "done"
