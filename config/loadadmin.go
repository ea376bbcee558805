package config

import "bytes"

// LoadAdmin reads the admin address alone, so that a command finds the running proxy even if the
// rest of the file has problems. It returns nil if none is configured. The error is of type
// [Problems].
func LoadAdmin(name string, env func(string) (string, bool)) (*Admin, error) {
	d := newDecoder(name, env)
	c := &Config{File: name}
	SetDefaults(c)
	if name != "" {
		root, p := d.readTree(name)
		if p != nil {
			return nil, Problems{*p}
		}
		c.Source = &Source{file: name, root: root}
		if m := root.member("admin"); m != nil {
			c.fields().find("admin").value.decode(d, m.value, newPath("admin"))
		}
	}
	d.adminEnv(c)
	if c.Admin != nil && len(d.problems) == 0 {
		check := newChecker(c, d.unread)
		c.fields().find("admin").value.check(check, newPath("admin"))
		d.problems = c.Locate(check.faults)
	}
	if len(d.problems) > 0 {
		return nil, d.problems.sorted(name)
	}
	return c.Admin, nil
}

// readTree reads the values of a file, without judging them.
func (d *decoder) readTree(name string) (*node, *Problem) {
	data, err := readFile(name)
	if err != nil {
		return nil, problemf(name, 0, 0, "", "cannot read the configuration: %s", reason(err))
	}
	data = bytes.TrimPrefix(data, utf8BOM)
	if p := checkText(name, data); p != nil {
		return nil, p
	}
	data = unixLines(data)
	if isJSON(name, data) {
		return readJSON(name, data)
	}
	if len(data) > maxYAMLSize {
		return nil, problemf(name, 0, 0, "", "larger than %d MiB, the limit for YAML", maxYAMLSize>>20)
	}
	return readYAML(name, data)
}
