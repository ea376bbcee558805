package proxy_test

import (
	"fmt"
	"os"
)

// childEnv names what a child process is to do: this test binary runs itself for what changes a whole process.
const childEnv = "L4PROXY_TEST_CHILD"

var children = map[string]func() error{}

// runChild does a child's work and returns its exit code.
func runChild(work string) int {
	f, ok := children[work]
	if !ok {
		fmt.Fprintf(os.Stderr, "no work %q\n", work)
		return 2
	}
	if err := f(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
