package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"l4proxy/admin"
)

// openTerminal returns both ends of a pseudo-terminal: what is written to the first one is typed at
// the second one.
func openTerminal(t *testing.T) (keyboard, terminal *os.File) {
	t.Helper()
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { keyboard.Close() })
	fd := int(keyboard.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	if terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminal.Close() })
	return keyboard, terminal
}

// On a terminal, kill asks before it ends more than one connection, and only then.
func TestKillAsks(t *testing.T) {
	for _, test := range []struct {
		name    string
		args    string
		matched int
		typed   string // "" is no terminal
		asks    bool
		kills   bool
	}{
		{"yes", "--all", 3, "y\n", true, true},
		{"the whole word", "--all", 3, "YES\n", true, true},
		{"no", "--all", 3, "n\n", true, false},
		{"the default", "--listener web", 3, "\n", true, false},
		{"a single one", "--listener web", 1, "n\n", false, true},
		{"by id", "--id 0-1-2", 3, "n\n", false, true},
		{"told not to ask", "--all --yes", 3, "n\n", false, true},
		{"dry run", "--all --dry-run", 3, "n\n", false, false},
		{"no terminal", "--all", 3, "", false, true},
		{"as JSON", "--all --json", 3, "n\n", true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			var mu sync.Mutex
			killed := false
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var q admin.KillRequest
				if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				killed = killed || !q.DryRun
				answer := admin.Kill{DryRun: q.DryRun, Matched: test.matched}
				if !q.DryRun {
					answer.Killed = test.matched
				}
				_ = json.NewEncoder(w).Encode(answer)
			}))
			defer server.Close()
			cmd := newKillCommand()
			var out, asked strings.Builder
			cmd.SetOut(&out)
			cmd.SetErr(&asked)
			cmd.SetIn(strings.NewReader("y\n"))
			if test.typed != "" {
				keyboard, terminal := openTerminal(t)
				if _, err := keyboard.WriteString(test.typed); err != nil {
					t.Fatal(err)
				}
				cmd.SetIn(terminal)
			}
			cmd.SilenceErrors, cmd.SilenceUsage = true, true
			cmd.SetArgs(append(strings.Fields(test.args), "--admin", server.Listener.Addr().String()))
			err := cmd.Execute()
			mu.Lock()
			defer mu.Unlock()
			if asks := strings.Contains(asked.String(), fmt.Sprintf("End %d connections? [y/N] ", test.matched)); asks != test.asks || killed != test.kills {
				t.Errorf("asked: %v, killed: %v; %v\n%s%s", asks, killed, err, asked.String(), out.String())
			}
			if refused := test.asks && !test.kills; (err != nil) != refused || refused && out.Len() > 0 {
				t.Errorf("error %v, output %q", err, out.String())
			}
		})
	}
}

func TestBytesText(t *testing.T) {
	for n, want := range map[float64]string{
		0: "0", 4: "4", 999: "999", 999.6: "1.0k", 1000: "1.0k", 1536: "1.5k", 99_949: "99.9k", 99_950: "100k", 999_499: "999k", 999_500: "1.0M", 7.4e9: "7.4G", 1e18: "1000P",
	} {
		if got := bytesText(n); got != want {
			t.Errorf("%v: %s, want %s", n, got, want)
		}
	}
}
