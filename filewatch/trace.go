package filewatch

import (
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is how many symbolic links a path may lead through, as in the kernel.
const maxLinks = 40

// trace follows a path as the kernel does (path_resolution(7)). It calls visit for each symbolic
// link on the way and for the file at the end, or for the first part that does not exist: with the
// directory, free of links, and the name in it.
func trace(path string, visit func(dir, name string)) {
	if !filepath.IsAbs(path) { // not filepath.Abs, which takes link/.. for nothing
		here, err := os.Getwd()
		if err != nil {
			return // the working directory is gone
		}
		path = here + "/" + path
	}
	dir, rest := "/", strings.Split(path, "/")
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			dir = filepath.Dir(dir)
			continue
		}
		at := filepath.Join(dir, name)
		target, err := os.Readlink(at)
		if err == nil {
			visit(dir, name)
			if links++; links > maxLinks {
				return
			}
			if filepath.IsAbs(target) {
				dir = "/"
			}
			rest = append(strings.Split(target, "/"), rest...)
			continue
		}
		if _, err := os.Lstat(at); err != nil || len(rest) == 0 {
			visit(dir, name)
			return
		}
		dir = at
	}
}

// stat is what changes when a file is written or replaced; the zero value is that of no file.
type stat struct {
	device, inode uint64
	size          int64
	written       unix.Timespec
	changed       unix.Timespec
}

func statOf(name string) stat {
	var s unix.Stat_t
	if unix.Stat(name, &s) != nil {
		return stat{}
	}
	return stat{uint64(s.Dev), s.Ino, s.Size, s.Mtim, s.Ctim}
}
