//! Examples below the help of those commands that need one.

pub(super) const FIRST_STEPS: &str = "\
An image is *imported* (a disk file, here or at a URL), *built* (a recipe: a bootable base) or \
*created* (from an instance).

First steps:
  kiln doctor                                       can guests run here?
  kiln image build debian-12-pv                     make a base image (about a minute)
  kiln run debian-12-pv --name web --wait agent     launch it
  kiln exec web -- sh -c 'echo hello > /etc/motd'   change it
  kiln image create web --name web-1                bake the change into a new image
  kiln run web-1                                    launch that

Guests run on /dev/kvm where that works, else in the software machine; KILN_ACCEL=kvm or \
KILN_ACCEL=software insists.

Exit status: 0 done, 1 failed, 2 wrong usage. exec and run -- CMD hand on the command's own status \
(128+n for signal n), or 125: Kiln failed, 126: CMD cannot be executed, 127: CMD is not there.";

pub(super) const RUN: &str = "\
Examples:
  kiln run debian-12-pv --type t3.small --name web --volume 20G,keep
  kiln run --rm tiny -- uname -a          run a command in a new guest and leave nothing
  make | kiln run --rm debian-12-pv -- sh -c 'cat > /dev/null'";

pub(super) const IMPORT: &str = "\
What a URL names is verified by --sha256 or --sha512, else by a checksum file beside it (SHA512SUMS, \
SHA256SUMS, CHECKSUM, FILE.sha512, FILE.sha256), kept in the cache, and goes on there after an \
interruption. Proxies are those of HTTPS_PROXY, HTTP_PROXY and NO_PROXY.

Examples:
  kiln image import disk.qcow2 --name mine
  kiln image import https://example.org/images/disk.raw.xz --name mine
  kiln image import ubuntu-24.04 --name ubuntu-24.04    an official image: kiln image list --official";

pub(super) const KEY_CREATE: &str = "\
The private half is KILN_HOME/keys/REGION/NAME, and is never printed.

Examples:
  kiln key create web                               of type ed25519
  kiln key create web --type rsa --output-key web.pem
  kiln run debian-12 --key web";

pub(super) const KEY_IMPORT: &str = "\
A key is of type ssh-ed25519 or ssh-rsa: a line of OpenSSH, or the text of RFC 4716.

Examples:
  kiln key import me ~/.ssh/id_ed25519.pub
  kiln run debian-12 --key me";

pub(super) const EXEC: &str = "\
Examples:
  kiln exec web -- bash                   a shell, on a terminal of its own
  kiln exec web -- tar -c /etc > etc.tar  streams are handed on as they are";

pub(super) const CONSOLE: &str = "\
Ctrl-] leaves the console; the instance runs on. Several may sit at one console. It ends with the \
instance. kiln log shows what was printed before; kiln exec runs a command without a login.

Examples:
  kiln console web
  kiln console web --port hvc0 --escape ^A
  kiln console web < /dev/null            only look on";

pub(super) const STATS: &str = "\
CPU is in parts of one processor, since the start or with --watch since the last look: 200% are two \
processors at work. MEMORY is what is in use of what was given: what a guest frees goes back to the host \
within seconds, if its kernel says what is free, as Linux does from 5.7 on. What a guest keeps as a cache \
of its disks is not free. Memory of --huge-pages 2M and 1G is never given back.

Examples:
  kiln stats
  kiln stats web --watch
  kiln --output json stats | jq '.Statistics[].CpuSeconds'";

pub(super) const CP: &str = "\
A folder is copied with all below it, into the folder that is named, or, where there is none, as one of that \
name; a folder that ends in /. is its content. Permissions (but for setuid and setgid), times \
and symbolic links below it stay; in a guest all is root's, here it is your own. In the guest its `tar` does the work.

Examples:
  kiln cp app.conf web:/etc/
  kiln cp site/. web:/var/www/html
  kiln cp web:/var/log/syslog .";

pub(super) const TAG: &str = "\
Examples:
  kiln tag web role=frontend zone=a
  kiln tag ami-0123 Name=golden";

pub(super) const WAIT: &str = "\
Examples:
  kiln wait web agent && kiln exec web -- uptime";

pub(super) const LIST: &str = "\
Examples:
  kiln list --filter instance-state-name=running --filter tag:role=web
  kiln -q list | xargs kiln stop
  kiln --output json list | jq '.Reservations[].Instances[].InstanceId'";

pub(super) const MODIFY: &str = "\
Examples:
  kiln stop web && kiln modify web --type t3.small && kiln start web
  kiln modify web --kernel bzImage --initrd initrd.img --cmdline 'root=/dev/vda1 ro console=ttyS0'
  kiln modify web --own-kernel            as its disk's menu says, again";

pub(super) const VOLUME_CREATE: &str = "\
Examples:
  kiln volume create --size 20G --name data
  kiln volume create --snapshot snap-0123 --size 40G";

pub(super) const VOLUME_ATTACH: &str = "\
A running guest finds the disk by itself, within some seconds: in a Linux, lsblk -o NAME,SERIAL shows \
the volume's id, without its dash, as the serial. The root of an instance can be exchanged while it is stopped: a volume that holds \
another root takes the place of the one that was detached.

Examples:
  kiln volume attach data web && kiln exec web -- lsblk -o NAME,SERIAL,SIZE
  kiln volume attach rescued web --device /dev/sda1";

pub(super) const VOLUME_DETACH: &str = "\
Unmount it in a running guest first. A guest that has not let go in time keeps the volume, which is then \
busy: once it has let go, the next command records that. --force takes the volume away.

Examples:
  kiln exec web -- umount /mnt && kiln volume detach data
  kiln volume detach data --force --timeout 30";

pub(super) const COMPLETIONS: &str = "\
Examples:
  kiln completions bash > ~/.local/share/bash-completion/completions/kiln
  kiln completions zsh > ~/.zfunc/_kiln
  kiln completions fish > ~/.config/fish/completions/kiln.fish";
