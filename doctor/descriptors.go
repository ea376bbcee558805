package doctor

import (
	"fmt"
	"io/fs"
	"strings"

	"l4proxy/control"
)

const (
	// fewConnections is a limit that a busy service reaches.
	fewConnections = 4000
	// plentyFiles is a limit of open files that leaves max_connections: auto enough room.
	plentyFiles = 1 << 20
)

// openFiles is the limit of open files that the proxy has, or would have: a start raises the soft
// limit to the hard one.
func (f *Facts) openFiles() (n int, ok bool) {
	soft, hard, ok := f.limit("Max open files")
	if f.PID == 0 {
		soft = hard
	}
	return int(min(soft, 1<<30)), ok
}

// listenSockets is the number of listening sockets, or what a small configuration has.
func (f *Facts) listenSockets() int {
	if f.Plan == nil {
		return f.workers()
	}
	return f.Plan.ListenSockets(f.workers())
}

func (f *Facts) otherDescriptors() int {
	if f.Plan == nil {
		return 0
	}
	return f.Plan.OtherDescriptors()
}

func descriptors(f *Facts) []Finding {
	limit, ok := f.openFiles()
	if !ok {
		return nil
	}
	wanted := 0
	if f.Config != nil {
		wanted = f.Config.MaxConnections
	}
	found := append(f.systemFiles(), f.usedFiles(limit)...)
	most, err := control.MaxConnections(wanted, limit, f.workers(), f.listenSockets(), f.otherDescriptors())
	const why = "Each connection takes two descriptors, and clients beyond the limit wait in the kernel's queue."
	switch {
	case err != nil:
		needs := f.filesFor(wanted)
		found = append(found, Finding{
			Level: Problem, Found: fmt.Sprintf("the limit of open files is %d, and %s", limit, f.demand(wanted, needs)),
			Why: "The proxy does not start with a limit that is too low.", Do: f.raiseFiles(needs),
		})
	case wanted == 0 && most < fewConnections:
		found = append(found, Finding{
			Level: Warning, Found: fmt.Sprintf("the limit of open files is %d, enough for %d connections", limit, most),
			Why: why, Do: f.raiseFiles(plentyFiles),
		})
	}
	if found != nil {
		return found
	}
	return fine("limit of %d open files, %d connections", limit, most)
}

func (f *Facts) demand(wanted, needs int) string {
	if wanted == 0 {
		return fmt.Sprintf("%d listening sockets need %d", f.listenSockets(), needs)
	}
	return fmt.Sprintf("max_connections: %d needs %d", wanted, needs)
}

// filesFor is the lowest limit of open files that is enough.
func (f *Facts) filesFor(wanted int) int {
	low, high := 1, 1<<30
	for low < high {
		middle := (low + high) / 2
		if _, err := control.MaxConnections(wanted, middle, f.workers(), f.listenSockets(), f.otherDescriptors()); err != nil {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low
}

func (f *Facts) raiseFiles(to int) string {
	do := f.setLimit("LimitNOFILE", int64(to), "-n", "nofile")
	if open, ok := f.sysctl("fs.nr_open"); ok && int64(to) > open {
		do = setSysctl("fs.nr_open", to) + " (no process may have more)\n" + do
	}
	return do
}

// systemFiles looks at the descriptors of the whole machine.
func (f *Facts) systemFiles() []Finding {
	used := f.numbers("proc/sys/fs/file-nr") // allocated, unused, the most
	if len(used) != 3 || used[2] <= 0 {
		return nil
	}
	most, _ := f.maxConnections()
	switch all := used[2]; {
	case used[0] > all/10*9:
		return []Finding{{
			Level: Problem, Found: fmt.Sprintf("fs.file-max is %d, and all processes together have %d files open", all, used[0]),
			Why: "Beyond it, no process of this machine can open a file or a socket.", Do: setSysctl("fs.file-max", 2*all),
		}}
	case 2*most+used[0] > all:
		return []Finding{{
			Level: Warning, Found: fmt.Sprintf("fs.file-max is %d, and %d connections need %d more than the %d files that are open", all, most, 2*most, used[0]),
			Why: "Beyond it, no process of this machine can open a file or a socket.", Do: setSysctl("fs.file-max", 2*(2*most+used[0])),
		}}
	}
	return nil
}

// usedFiles looks at the descriptors of the running proxy, if that is allowed.
func (f *Facts) usedFiles(limit int) []Finding {
	if f.PID == 0 {
		return nil
	}
	open, err := fs.ReadDir(f.Root, f.process()+"/fd")
	if err != nil || len(open) <= limit/10*9 {
		return nil
	}
	return []Finding{{
		Level: Problem, Found: fmt.Sprintf("the proxy has %d of at most %d files open", len(open), limit),
		Why: "When descriptors run out, listeners and dials pause, and clients wait.",
		Do:  strings.Join([]string{f.raiseFiles(max(2*limit, plentyFiles)), "l4proxy status shows which listener and pool they belong to"}, "\n"),
	}}
}
