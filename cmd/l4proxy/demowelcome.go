package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"l4proxy/cmd/l4proxy/demo"
)

// demoWelcome is what the demo prints. Each command works as it is when it is copied.
func demoWelcome(o *demoOptions, addr, admin string, backends []*demo.Backend) string {
	var b strings.Builder
	for _, note := range o.notes {
		fmt.Fprintln(&b, note)
	}
	url := reachable(addr)
	dashboard, onTCP := "http://"+admin+"/", admin != "" && !strings.HasPrefix(admin, "unix:")
	if onTCP {
		fmt.Fprintf(&b, "Dashboard: %s\n", dashboard)
	}
	var served []string
	for _, backend := range backends {
		served = append(served, fmt.Sprintf("%s (%s)", backend.Name(), backend.Addr()))
	}
	fmt.Fprintf(&b, "l4proxy listens on %s, in front of %s.\n\n", addr, strings.Join(served, ", "))
	watch := "the dashboard or the log below"
	if o.traffic {
		watch = "the dashboard; because of the traffic, the log below has no connections"
	}
	fmt.Fprintf(&b, "Try these in another terminal, each several times, and watch %s:\n\n", watch)

	tries := [][2]string{
		{"The backends take turns", "curl " + url},
		{fmt.Sprintf("Stop the backend that answers for %v: the others take over; also try /hang, /slow and /ok", demo.Pause), "curl " + url + "/stop"},
	}
	if strings.HasPrefix(url, "127.") {
		tries = append(tries, [2]string{"A client that the access control list denies", fmt.Sprintf("curl --http0.9 --interface %s %s", demoDenied, url)})
	}
	if admin != "" {
		command := func(name string) string { return fmt.Sprintf("%s %s --admin %s", programName(), name, admin) }
		tries = append(tries,
			[2]string{"What is up, and what is wrong; live with top instead of status", command("status")},
			[2]string{"Take a backend out of service; put it back with --undo", command("drain") + " --backend " + backends[0].Addr()})
	}
	if onTCP {
		tries = append(tries, [2]string{
			"Break a backend until you send none; also stop and slow",
			fmt.Sprintf(`curl -d '{"fault": "hang"}' %sapi/v1/demo/%s`, dashboard, backends[1].Name()),
		})
	}
	for _, try := range tries {
		fmt.Fprintf(&b, "  %s:\n    %s\n", try[0], try[1])
	}
	if !o.traffic {
		fmt.Fprintf(&b, "\n--traffic adds a light load.\n")
	}
	fmt.Fprintf(&b, "\nFor your own backends, write config.json as in README.md, and run l4proxy. Ctrl-C ends the demo.\n\n")
	return b.String()
}

// programName is how to call this program from the user's shell: by its name if the PATH leads to
// it.
func programName() string {
	own, err := os.Executable()
	if err != nil {
		return "l4proxy"
	}
	for _, name := range []string{filepath.Base(os.Args[0]), os.Args[0]} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		if real, err := filepath.EvalSymlinks(path); err == nil && (real == own || path == own) {
			return name
		}
	}
	return own
}
