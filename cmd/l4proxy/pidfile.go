package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// pidFile is the path of a file with the number of the serving process; "" for none.
type pidFile string

func addPIDFileFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVar(file, "pid-file", "", "write the process id to this file, and update it on each upgrade")
}

// write replaces the file in one step, so that a reader never sees half a number. What a killed
// process has left behind is replaced too: the listening sockets, which this process has by then,
// show that no other one serves.
func (f pidFile) write() error {
	if f == "" {
		return nil
	}
	next := fmt.Sprintf("%s.%d", f, os.Getpid())
	err := os.WriteFile(next, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644)
	if err == nil {
		err = os.Rename(next, string(f))
	}
	if errors.Is(err, fs.ErrPermission) && f.overwrite() == nil {
		return nil
	}
	if err != nil {
		_ = os.Remove(next)
		return fmt.Errorf("pid file: %w: choose a directory that exists and is writable", err)
	}
	return nil
}

// overwrite changes the file in place, for a user that has the file but not its directory. The text
// keeps its length, so that one write replaces all of it.
func (f pidFile) overwrite() error {
	file, err := os.OpenFile(string(f), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	text := strconv.Itoa(os.Getpid())
	text += strings.Repeat("\n", max(1, min(int(info.Size()), pidFileMost)-len(text)))
	_, err = file.WriteAt([]byte(text), 0)
	return err
}

// pidFileMost bounds what is overwritten: more is no number of a process.
const pidFileMost = 20

// remove removes the file, unless another process has written it since.
func (f pidFile) remove() {
	if f == "" {
		return
	}
	text, err := os.ReadFile(string(f))
	if err == nil && strings.TrimSpace(string(text)) == strconv.Itoa(os.Getpid()) {
		if os.Remove(string(f)) != nil {
			_ = os.Truncate(string(f), 0) // in a directory of another user
		}
	}
}
