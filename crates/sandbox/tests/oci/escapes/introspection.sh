# What a process in a sandbox can see of itself and around it. Numbers that differ from run to run
# and from machine to machine are left out.
exec 2>&1
say() { printf '%s: %s\n' "$1" "$2"; }
status() { sed -n "s/^$1:[[:space:]]*//p" /proc/self/status; }

say identity "uid $(id -u), gid $(id -g), groups $(id -G), umask $(umask)"
say "where" "host $(hostname), directory $(pwd)"
for name in CapInh CapPrm CapEff CapBnd CapAmb NoNewPrivs Seccomp Seccomp_filters; do say $name "$(status $name)"; done
for name in cgroup ipc mnt net pid time user uts; do
  here=$(readlink /proc/self/ns/$name) || here=
  case $here in
    '') say "namespace $name" "not told" ;;
    *"$(echo "$HOST_NAMESPACES" | tr , '\n' | sed -n "s/^$name=//p")"*) say "namespace $name" "the host's" ;;
    *) say "namespace $name" "its own" ;;
  esac
done
say "may make namespaces" "$(unshare -Ur true 2> /dev/null && echo yes || echo no)"
say "ids" "$(tr -s ' ' < /proc/self/uid_map | sed 's/^ //' | awk '{ print $1, ($2 >= 600000000 ? "own" : $2), $3 }')"
say "oom score" "$(cat /proc/self/oom_score_adj)"
grep -E 'core file|open files|locked memory|priority|pending signals|msgqueue|processes' /proc/self/limits | sed -E 's/[[:space:]]+/ /g; s/ $//'
echo environment: $(env | cut -d= -f1 | grep -v -e HOST_NAMESPACES -e '^_$' -e SHLVL -e PWD | sort)
echo processes: $(cat /proc/[0-9]*/comm 2> /dev/null | grep -v -x -e cat -e bash -e sort -e grep | sort)
echo interfaces: $(tail -n +3 /proc/net/dev | cut -d: -f1)
echo devices: $(for f in /dev/* /dev/*/*; do test ! -L $f && test -b $f -o -c $f && echo $f; done | sort)
echo "set-user-id could count at: $(cut -d' ' -f2,4 /proc/mounts | grep -v nosuid | cut -d' ' -f1 | grep -v -e ^/dev/ -e ^/proc/ | sort | tr '\n' ' ')"
echo "places that can be written: $(find / -xdev -maxdepth 1 -type d -writable 2> /dev/null | sort | tr '\n' ' ')$(for d in /home/agent /mnt/session /dev/shm; do test -w $d && printf '%s ' $d; done)"
for mount in / /proc /dev /dev/pts /dev/shm /workspace /tmp /home/agent /mnt/session /opt/hostel /opt/hostel/guest /usr /sys; do
  found=$(awk -v at=$mount '$2 == at { print $4 }' /proc/mounts | tail -n 1 | tr , '\n' | grep -E -x 'ro|rw|nosuid|nodev|noexec' | tr '\n' ' ')
  say "mount $mount" "${found:-none}"
done
for file in /proc/kcore /proc/kallsyms /proc/keys /proc/kmsg /proc/timer_list /proc/modules /proc/interrupts /proc/sched_debug; do
  say $file "$(timeout 1 head -c 1 $file 2> /dev/null | grep -q . && echo 'can be read' || echo 'shows nothing')"
done
for file in /proc/sys/kernel/core_pattern /proc/sysrq-trigger /proc/self/comm /proc/self/oom_score_adj; do
  say "writing $file" "$( (test -e $file && printf '' >> $file) 2> /dev/null && echo 'possible' || echo 'refused')"
done
