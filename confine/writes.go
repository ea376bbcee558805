package confine

import (
	"errors"
	"os"
	"path/filepath"
	"slices"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
)

// changes are all ways to change files. What is not in here stays as it was: reading, executing,
// and files that are open already, such as the log. Device files cannot be created anywhere.
const (
	changes = creates | ll.AccessFSMakeChar | ll.AccessFSMakeBlock
	creates = ll.AccessFSWriteFile | ll.AccessFSTruncate | ll.AccessFSRemoveFile | ll.AccessFSRemoveDir |
		ll.AccessFSMakeReg | ll.AccessFSMakeDir | ll.AccessFSMakeSock | ll.AccessFSMakeFifo | ll.AccessFSMakeSym
)

// usual are where services keep sockets, pid files and state. They are always writable, so that a
// reload can use another path there: Landlock cannot be relaxed later.
var usual = []string{"/run", "/tmp", "/var/tmp", "/var/lib/l4proxy", "/var/log/l4proxy", "/dev/null"}

// Writable lists the usual directories and the given ones, absolute, each once.
func Writable(more []string) []string {
	list := append(slices.Clone(usual), os.TempDir())
	for _, dir := range more {
		if dir, err := filepath.Abs(dir); err == nil {
			list = append(list, dir)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// LandlockABI is the version of Landlock, 0 if the kernel lacks it.
func LandlockABI() int {
	version, err := ll.LandlockGetABIVersion()
	if err != nil {
		return 0
	}
	return version
}

var errNoLandlock = errors.New("needs Linux 5.13 or newer, with landlock in the kernel's lsm= list")

// limitWrites lets the process change files in some directories only (Landlock). A process can have
// 16 layers of such rules, so one that has inherited a layer adds no other.
func (r *Report) limitWrites(dirs []string) {
	if r.Writes {
		return
	}
	if LandlockABI() == 0 {
		r.missing("writes not limited", errNoLandlock)
		return
	}
	config := landlock.Config{HandledAccessFS: changes}.BestEffort()
	var rules []landlock.Rule
	for _, dir := range Writable(dirs) {
		rights := landlock.AccessFSSet(creates)
		if info, err := os.Stat(dir); err == nil && !info.IsDir() {
			rights = ll.AccessFSWriteFile | ll.AccessFSTruncate
		}
		rules = append(rules, landlock.PathAccess(rights, dir).IgnoreIfMissing())
	}
	// A file may be moved between the directories, as it could before.
	if err := config.RestrictPaths(rules...); err != nil {
		r.missing("writes not limited", err)
		return
	}
	r.Writes = true
}
