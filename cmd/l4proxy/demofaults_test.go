package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"l4proxy/admin"
	"l4proxy/cmd/l4proxy/demo"
)

func TestDemoFaults(t *testing.T) {
	backends, err := demo.Listen(2)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, b := range backends {
		running.Go(func() { b.Run(ctx) })
	}
	defer running.Wait()
	defer cancel()
	list, set := demoFaults(backends)
	for _, name := range []string{"backend-2", backends[1].Addr()} {
		for _, fault := range []string{"stop", "hang", "slow", "none"} {
			got, err := set(ctx, name, admin.FaultRequest{Fault: fault})
			want := admin.DemoBackend{Name: "backend-2", Address: backends[1].Addr(), Fault: fault}
			if err != nil || *got != want {
				t.Errorf("%s: %+v, %v; want %+v", name, got, err, want)
			}
			all, err := list(ctx)
			if err != nil || len(all) != 2 || all[0].Fault != "none" || all[1] != want {
				t.Errorf("%s: the list is %+v, %v", name, all, err)
			}
		}
	}
	for _, test := range []struct {
		name, fault string
		status      int
		says        string
	}{
		{"backend-9", "hang", http.StatusNotFound, `the demo has no backend "backend-9": use backend-1 or 127.0.0.1:`},
		{strings.Repeat("x", 9999), "hang", http.StatusNotFound, `the demo has no backend "` + strings.Repeat("x", 80) + `..."`},
		{"backend-1", "", http.StatusBadRequest, `no fault is named: send {"fault": "hang"}; the faults are none, stop, hang, slow`},
		{"backend-1", "Hang", http.StatusBadRequest, `unknown fault "Hang": write one of none, stop, hang, slow`},
	} {
		_, err := set(ctx, test.name, admin.FaultRequest{Fault: test.fault})
		var refused *admin.Error
		if !errors.As(err, &refused) || refused.Status != test.status || !strings.HasPrefix(err.Error(), test.says) {
			t.Errorf("%.20s, %q: %v, want %d %s", test.name, test.fault, err, test.status, test.says)
		}
	}
}

// A demo that finds its usual port taken uses a free one, and says so.
func TestDemoPortTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	o := demoOptions{admin: address}
	o.instead(&o.admin, "--admin")
	if want := address + " is taken by another program, using a free port instead (--admin sets another address)."; o.admin != demoFree ||
		len(o.notes) != 1 || o.notes[0] != want {
		t.Errorf("%+v, want the note %s", o, want)
	}
	l.Close()
	o = demoOptions{admin: address}
	if o.instead(&o.admin, "--admin"); o.admin != address || o.notes != nil {
		t.Errorf("a free port is not used: %+v", o)
	}
	backends, err := demo.Listen(2)
	if err != nil {
		t.Fatal(err)
	}
	text := demoWelcome(&demoOptions{notes: []string{"a note."}}, "127.0.0.1:1", "127.0.0.1:2", backends)
	if !strings.HasPrefix(text, "a note.\nDashboard: http://127.0.0.1:2/\n") {
		t.Errorf("welcome:\n%s", text)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, b := range backends {
		b.Run(ended) // closes it
	}
}
