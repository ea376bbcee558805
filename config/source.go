package config

import (
	"fmt"
	"strconv"
	"strings"
)

// Source knows where the values of a Config were written.
type Source struct {
	file string
	root *node
	// simple says that root is of the simple form.
	simple bool
	// overridden are the paths of single values that environment variables replace, with their
	// names.
	overridden map[string]string
}

// override notes that the value at p comes from an environment variable.
func (s *Source) override(p *path, env string) {
	if s.overridden == nil {
		s.overridden = make(map[string]string)
	}
	s.overridden[p.String()] = env
}

// Where returns the position of the value at a path or, if it was left out, of the value that would
// contain it. A list or a mapping is where its key is.
func (c *Config) Where(path string) Position {
	s := c.Source
	if s == nil || s.root == nil {
		return Position{File: c.File}
	}
	if env, ok := s.overridden[path]; ok {
		return Position{Env: env}
	}
	if s.simple {
		path = simplePath(path)
	}
	n := s.root
	at := n
	for _, step := range steps(path) {
		if step == "[0]" && n.kind != kindList {
			continue // n stands for a list of one
		}
		if n.kind == kindList {
			i, err := strconv.Atoi(strings.Trim(step, "[]"))
			if err != nil || i < 0 || i >= len(n.items) {
				break
			}
			n = n.items[i]
			at = n
			continue
		}
		m := n.member(step)
		if m == nil {
			break // or a value that stands for a mapping
		}
		n, at = m.value, m.keyNode()
		if n.env != "" || n.kind != kindMap && n.kind != kindList {
			at = n
		}
	}
	return at.position(s.file)
}

// Locate gives faults their positions.
func (c *Config) Locate(faults []Fault) Problems {
	problems := make(Problems, len(faults))
	for i, f := range faults {
		f.Msg += c.see(f.See)
		problems[i] = Problem{Position: c.Where(f.Path), Fault: f}
	}
	return problems.sorted(c.File)
}

// see names the lines of what a message compares with.
func (c *Config) see(paths []string) string {
	var lines []string
	for _, path := range paths {
		if at := c.Where(path); at.Line > 0 {
			lines = append(lines, strconv.Itoa(at.Line))
		}
	}
	switch len(lines) {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf(" (line %s)", lines[0])
	}
	last := len(lines) - 1
	return fmt.Sprintf(" (lines %s and %s)", strings.Join(lines[:last], ", "), lines[last])
}
