#!/bin/bash
# Builds a root of its own and becomes systemd in it. Runs inside fresh pid, mount, cgroup, net, uts and ipc namespaces.
# Whatever of the real machine is seen in there is seen read-only; what is written goes to a tmpfs that dies with it.
#   machine.sh ROOT UNITS SOURCE SITE PYTHON_PREFIX PYTHON_NAME
set -euo pipefail
root=$1 units=$2 source=$3 site=$4 prefix=$5 python=$6

seen() { # what, where
    mkdir -p "$2"
    mount --bind "$1" "$2"
    mount -o remount,bind,ro "$2"
}

mount --make-rprivate /
mount -t tmpfs -o mode=0755 tmpfs "$root"
cd "$root"
mkdir -p etc/systemd/system proc sys dev/shm dev/pts run tmp var/tmp var/lib var/log opt/citadel/venv/bin root
chmod 1777 tmp var/tmp dev/shm
seen /usr usr
for name in bin sbin lib lib64; do [ ! -e "/$name" ] || ln -s "usr/$name" "$name"; done
seen "$prefix" opt/python
seen "$site" opt/site
seen "$source" opt/source

for name in null zero full random urandom tty; do
    touch "dev/$name"
    mount --bind "/dev/$name" "dev/$name"
done
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=0755 tmpfs run

cat > etc/passwd <<'END'
root:x:0:0::/root:/bin/sh
citadel:x:990:990::/opt/citadel:/bin/sh
nobody:x:65534:65534::/:/bin/sh
END
cat > etc/group <<'END'
root:x:0:
citadel:x:990:
systemd-journal:x:991:
nogroup:x:65534:
END
printf 'passwd: files\ngroup: files\nhosts: files\n' > etc/nsswitch.conf
echo '127.0.0.1 localhost' > etc/hosts
echo 0123456789abcdef0123456789abcdef > etc/machine-id
cp /etc/ld.so.cache etc/

# Of the real machine's units only the journal's; targets stand for what a machine would have up by then.
cp "$units"/*.service "$units"/*.socket usr/lib/systemd/system/systemd-journald{.service,.socket,-dev-log.socket} etc/systemd/system/
for name in sysinit sockets network-online network multi-user shutdown umount local-fs; do
    printf '[Unit]\nDefaultDependencies=no\n' > "etc/systemd/system/$name.target"
done
printf '[Unit]\nDefaultDependencies=no\nWants=systemd-journald.service\n' > etc/systemd/system/basic.target

cat > opt/citadel/run.py <<'END'
import sys

sys.path[:0] = ["/opt/source", "/opt/site"]

from citadel_edge.cli.main import main

sys.exit(main())
END
cat > opt/citadel/venv/bin/citadel-edge <<END
#!/bin/sh
PYTHONHOME=/opt/python LD_LIBRARY_PATH=/opt/python/lib exec /opt/python/bin/$python -s /opt/citadel/run.py "\$@"
END
chmod 755 opt/citadel/venv/bin/citadel-edge
# Models elsewhere, so that no private one is prepared.
cat > opt/citadel/config.yaml <<'END'
upstreams: [{id: elsewhere, url: "http://127.0.0.1:9"}]
models: [{name: any, deployments: [{upstream: elsewhere}]}]
END

exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=test SYSTEMD_UNIT_PATH=/etc/systemd/system \
    chroot . /usr/lib/systemd/systemd --system --unit=basic.target --log-target=console --show-status=0
