package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
)

// namespacePrefix begins the names of this program's network namespaces. The id of
// the process follows.
const namespacePrefix = "l4proxy-bench-"

// namespaceDir is where ip-netns(8) keeps their names.
const namespaceDir = "/run/netns"

// layout makes three machines, each a network namespace: the client's, the
// proxy's, which routes between the others, and the origin's. Two pairs of virtual
// Ethernet devices connect them, with packets, MTU and neighbours, which loopback
// lacks.
//
// A site's network is local to its machine as a whole ("local" is the route
// type of ip-route(8)), as 127.0.0.0/8 is on loopback. The others reach it by a
// route and not as neighbours, because the kernel's table of neighbours is small.
const layout = `
netns add CLIENT
netns add PROXY
netns add ORIGIN
-n PROXY link add client type veth peer name proxy netns CLIENT
-n PROXY link add origin type veth peer name proxy netns ORIGIN

-n CLIENT address add 10.0.1.1/30 dev proxy
-n CLIENT link set lo up
-n CLIENT link set proxy up
-n CLIENT route add local 10.1.0.0/16 dev lo
-n CLIENT route add local 10.4.0.0/16 dev lo
-n CLIENT route add default via 10.0.1.2 src 10.1.0.1

-n PROXY address add 10.0.1.2/30 dev client
-n PROXY address add 10.0.2.1/30 dev origin
-n PROXY link set lo up
-n PROXY link set client up
-n PROXY link set origin up
-n PROXY route add 10.1.0.0/16 via 10.0.1.1
-n PROXY route add local 10.2.0.0/16 dev lo
-n PROXY route add 10.3.0.0/16 via 10.0.2.2
-n PROXY route add 10.4.0.0/16 via 10.0.1.1

-n ORIGIN address add 10.0.2.2/30 dev proxy
-n ORIGIN link set lo up
-n ORIGIN link set proxy up
-n ORIGIN route add local 10.3.0.0/16 dev lo
-n ORIGIN route add default via 10.0.2.1
`

// inNamespaces makes the place that layout describes. A process may have one at a
// time.
func inNamespaces(ctx context.Context) (*place, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("network namespaces need root")
	}
	ip, err := findTool("ip")
	if err != nil {
		return nil, fmt.Errorf("network namespaces need ip of iproute2: %w", err)
	}
	if err := removeLeftovers(ctx, ip); err != nil {
		return nil, err
	}
	own := fmt.Sprintf("%s%d-", namespacePrefix, os.Getpid())
	client, proxy, origin := own+"client", own+"proxy", own+"origin"

	p := newPlace(namespaces, 10)
	p.about = "three network namespaces with veth between them"
	p.clients.within = []string{ip, "netns", "exec", client}
	p.proxies.within = []string{ip, "netns", "exec", proxy}
	p.origins.within = []string{ip, "netns", "exec", origin}
	p.remove = func() error {
		// Not with ctx, which has ended if the run was interrupted.
		return removeNamespaces(context.Background(), ip, client, proxy, origin)
	}
	names := strings.NewReplacer("CLIENT", client, "PROXY", proxy, "ORIGIN", origin)
	for line := range strings.Lines(names.Replace(layout)) {
		if strings.TrimSpace(line) == "" {
			continue
		}
		if _, err := runIP(ctx, ip, strings.Fields(line)...); err != nil {
			return nil, errors.Join(err, p.remove())
		}
	}
	if err := setSysctl(ctx, p.proxy(), "net/ipv4/ip_forward", 1); err != nil {
		return nil, errors.Join(err, p.remove())
	}
	return p, nil
}

// setSysctl sets a variable of the network namespace that within leads to.
func setSysctl(ctx context.Context, within []string, name string, value int) error {
	return runAt(ctx, within, "sh", "-c", `echo "$1" >"/proc/sys/$0"`, name, strconv.Itoa(value))
}

// runIP runs ip(8) and returns what it printed.
func runIP(ctx context.Context, ip string, args ...string) (string, error) {
	output, err := exec.CommandContext(ctx, ip, args...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(output))
	}
	return string(output), err
}

// removeNamespaces removes the namespaces that exist, and kills what runs in them:
// without its name, a namespace would live as long as a process in it.
func removeNamespaces(ctx context.Context, ip string, names ...string) error {
	var faults error
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(namespaceDir, name)); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		pids, err := runIP(ctx, ip, "netns", "pids", name)
		faults = errors.Join(faults, err)
		for _, field := range strings.Fields(pids) {
			if pid, err := strconv.Atoi(field); err == nil {
				_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
			}
		}
		_, err = runIP(ctx, ip, "netns", "delete", name)
		faults = errors.Join(faults, err)
	}
	return faults
}

var namespaceName = regexp.MustCompile(`^` + namespacePrefix + `([1-9][0-9]*)-(client|proxy|origin)$`)

// removeLeftovers removes the namespaces of runs that were killed. If a process
// with the id of a run exists, it is taken for that run. Namespaces with the id of
// this process, which has not made any yet, are leftovers.
func removeLeftovers(ctx context.Context, ip string) error {
	entries, err := os.ReadDir(namespaceDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, entry := range entries {
		match := namespaceName.FindStringSubmatch(entry.Name())
		if match == nil {
			continue
		}
		pid, err := strconv.Atoi(match[1])
		if err != nil || pid != os.Getpid() && !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			continue
		}
		if err := removeNamespaces(ctx, ip, entry.Name()); err != nil {
			return fmt.Errorf("removing network namespaces of a run that was killed: %w", err)
		}
	}
	return nil
}
