package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"l4proxy/admin"
	"l4proxy/cmd/l4proxy/demo"
)

// demoFaults are what the admin address of a demo offers: to list the backends, and to break one. A
// fault lasts until it is changed.
func demoFaults(backends []*demo.Backend) (
	list func(context.Context) ([]admin.DemoBackend, error),
	set func(context.Context, string, admin.FaultRequest) (*admin.DemoBackend, error),
) {
	shown := func(b *demo.Backend) admin.DemoBackend {
		return admin.DemoBackend{Name: b.Name(), Address: b.Addr(), Fault: string(b.Fault())}
	}
	list = func(context.Context) ([]admin.DemoBackend, error) {
		var all []admin.DemoBackend
		for _, b := range backends {
			all = append(all, shown(b))
		}
		return all, nil
	}
	set = func(_ context.Context, name string, request admin.FaultRequest) (*admin.DemoBackend, error) {
		fault := demo.Fault(request.Fault)
		i := slices.IndexFunc(backends, func(b *demo.Backend) bool { return name == b.Name() || name == b.Addr() })
		switch {
		case i < 0:
			return nil, admin.NotFound("the demo has no backend "+strconv.Quote(clipped(name)), "use "+demoNames(backends))
		case fault == "":
			return nil, admin.Invalid("no fault is named", `send {"fault": "hang"}; the faults are `+demoFaultNames())
		case !slices.Contains(demo.Faults, fault):
			return nil, admin.Invalid("unknown fault "+strconv.Quote(clipped(request.Fault)), "write one of "+demoFaultNames())
		}
		backends[i].SetFault(fault, 0)
		return new(shown(backends[i])), nil
	}
	return list, set
}

func demoFaultNames() string {
	var names []string
	for _, f := range demo.Faults {
		names = append(names, string(f))
	}
	return strings.Join(names, ", ")
}

func demoNames(backends []*demo.Backend) string {
	var names []string
	for _, b := range backends {
		names = append(names, fmt.Sprintf("%s or %s", b.Name(), b.Addr()))
	}
	return strings.Join(names, ", ")
}

// clipped bounds what a message repeats of a request.
func clipped(text string) string {
	const most = 80
	if len(text) > most {
		text = text[:most] + "..."
	}
	return strings.ToValidUTF8(text, "?")
}

// offer adds to an address that is not served yet what only a demo has.
func (a *adminAddress) offer(
	list func(context.Context) ([]admin.DemoBackend, error),
	set func(context.Context, string, admin.FaultRequest) (*admin.DemoBackend, error),
) {
	a.queries.Demo, a.commands.Fault = list, set
	a.mu.Lock()
	defer a.mu.Unlock()
	if s := a.current; s != nil {
		s.server = a.serverOn(s.plan, s.sockets, s.listener).server
	}
}
