package doctor

import (
	"fmt"
	"io/fs"
	"math"
	"net/netip"
	"path"
	"strconv"
	"strings"

	"l4proxy/admin"
	"l4proxy/config"
	"l4proxy/control"
)

// Facts are what the checks look at.
type Facts struct {
	// Root is the root of the file system, for /proc, /sys and /etc.
	Root fs.FS
	// Config is the configuration; nil if there is none. Plan is what follows from it; nil if it
	// cannot be used.
	Config *config.Config
	Plan   *control.Plan
	// ConfigErrors are why the configuration cannot be used.
	ConfigErrors []string

	// Status is what a running proxy says of itself; nil if none answers. PID is its process; 0 if
	// none answers, or on another machine: the limits are then those of this program.
	Status *admin.Status
	PID    int
	// Version is that of this program.
	Version string

	// CPUs is the number of event loops with workers: auto.
	CPUs int
	// TryIOUring makes a ring as the proxy does, and returns why it cannot.
	TryIOUring func() error
	// Landlock is the version of Landlock, 0 if the kernel lacks it.
	Landlock int
	// AskNameServer sends a query to a name server, and returns an error if no answer comes.
	AskNameServer func(netip.Addr) error
}

// process is the folder in /proc of the process that is looked at.
func (f *Facts) process() string {
	if f.PID == 0 {
		return "proc/self"
	}
	return "proc/" + strconv.Itoa(f.PID)
}

// text reads a file without spaces around it; "" if it cannot be read.
func (f *Facts) text(name string) string {
	text, err := fs.ReadFile(f.Root, name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// numbers reads a file of numbers; nil if it cannot be read.
func (f *Facts) numbers(name string) []int64 {
	var all []int64
	for _, word := range strings.Fields(f.text(name)) {
		n, err := strconv.ParseInt(word, 10, 64)
		if err != nil {
			return nil
		}
		all = append(all, n)
	}
	return all
}

// number reads a file of one number.
func (f *Facts) number(name string) (n int64, ok bool) {
	all := f.numbers(name)
	if len(all) != 1 {
		return 0, false
	}
	return all[0], true
}

// sysctl reads a setting of the kernel.
func (f *Facts) sysctl(name string) (n int64, ok bool) { return f.number(sysctlFile(name)) }

func sysctlFile(name string) string { return "proc/sys/" + strings.ReplaceAll(name, ".", "/") }

// setSysctl is how to change a setting of the kernel.
func setSysctl(name string, value any) string {
	text := fmt.Sprint(value)
	quoted := text
	if strings.Contains(text, " ") {
		quoted = strconv.Quote(text)
	}
	return fmt.Sprintf("sysctl -w %s=%s; to keep it, add %[1]s = %[3]s to /etc/sysctl.d/l4proxy.conf", name, quoted, text)
}

// unlimited is a limit that is none.
const unlimited = math.MaxInt64

// limit is a resource limit of the process, by its name in /proc/PID/limits.
func (f *Facts) limit(name string) (soft, hard int64, ok bool) {
	for line := range strings.Lines(f.text(f.process() + "/limits")) {
		rest, found := strings.CutPrefix(line, name+" ")
		words := strings.Fields(rest)
		if !found || len(words) < 2 {
			continue
		}
		soft, ok1 := limitValue(words[0])
		hard, ok2 := limitValue(words[1])
		return soft, hard, ok1 && ok2
	}
	return 0, 0, false
}

func limitValue(text string) (int64, bool) {
	if text == "unlimited" {
		return unlimited, true
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil
}

// status is a line of /proc/PID/status; "" if there is none.
func (f *Facts) status(name string) string { return field(f.text(f.process()+"/status"), name+":") }

// field is the rest of the line that begins with a name.
func field(text, name string) string {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

// Capabilities, capabilities(7).
const (
	capNetBindService = 10
	capIPCLock        = 14
	capSysAdmin       = 21
	capSysResource    = 24
)

// capable reports whether the process has any of these capabilities. If that is unknown, it has.
func (f *Facts) capable(capabilities ...int) bool {
	set, err := strconv.ParseUint(f.status("CapEff"), 16, 64)
	if err != nil {
		return true
	}
	for _, c := range capabilities {
		if set&(1<<c) != 0 {
			return true
		}
	}
	return false
}

// unit is the systemd unit that the running proxy belongs to; "" if there is none.
func (f *Facts) unit() string {
	if f.PID == 0 {
		return ""
	}
	for line := range strings.Lines(f.text(f.process() + "/cgroup")) {
		if name := path.Base(strings.TrimSpace(line)); strings.HasSuffix(name, ".service") {
			return name
		}
	}
	return ""
}

// setLimit is how to change a resource limit: by a setting of systemd, or by ulimit and docker.
func (f *Facts) setLimit(setting string, value int64, ulimit, docker string) string {
	if unit := f.unit(); unit != "" {
		return fmt.Sprintf("systemctl edit %s: in [Service], %s=%d; then restart it", unit, setting, value)
	}
	return fmt.Sprintf("%s=%d in the [Service] section of the unit; in a shell, ulimit %s %[2]d before the start; docker run --ulimit %[4]s=%[2]d", setting, value, ulimit, docker)
}

// workers is the number of event loops.
func (f *Facts) workers() int {
	switch {
	case f.Status != nil && f.Status.Workers > 0:
		return f.Status.Workers
	case f.Config != nil && f.Config.Workers > 0:
		return f.Config.Workers
	}
	return f.CPUs
}

// maxConnections is the most connections at once, and whether an operator has chosen that number.
// It is 0 if it is unknown.
func (f *Facts) maxConnections() (most int64, chosen bool) {
	chosen = f.Config != nil && f.Config.MaxConnections > 0
	switch {
	case f.Status != nil:
		return int64(f.Status.MaxConnections), chosen
	case chosen:
		return int64(f.Config.MaxConnections), true
	}
	files, ok := f.openFiles()
	if !ok {
		return 0, false
	}
	n, err := control.MaxConnections(0, files, f.workers(), f.listenSockets(), f.otherDescriptors())
	if err != nil {
		return 0, false
	}
	return int64(n), false
}
