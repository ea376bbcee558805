package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"l4proxy/admin"
)

// On a terminal, drain asks before it shuts the whole proxy down, and only then.
func TestDrainAsks(t *testing.T) {
	for _, test := range []struct {
		name   string
		args   string
		typed  string // "" is no terminal
		asks   bool
		drains bool
	}{
		{"yes", "", "y\n", true, true},
		{"the default", "", "\n", true, false},
		{"told not to ask", "--yes", "n\n", false, true},
		{"no terminal", "", "", false, true},
		{"a listener", "--listener web", "n\n", false, true},
		{"a backend", "--backend 10.0.0.5:5432", "n\n", false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			var drained atomic.Bool
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				drained.Store(true)
				_ = json.NewEncoder(w).Encode(admin.Drain{State: admin.DrainRunning})
			}))
			defer server.Close()
			cmd := newDrainCommand()
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
			if asks := strings.Contains(asked.String(), "Shut the whole proxy down? [y/N] "); asks != test.asks || drained.Load() != test.drains {
				t.Errorf("asked: %v, drained: %v; %v\n%s%s", asks, drained.Load(), err, asked.String(), out.String())
			}
			if (err != nil) == test.drains {
				t.Errorf("error %v", err)
			}
		})
	}
}
