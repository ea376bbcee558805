package config

import "crypto/sha256"

// File is a file that a configuration was read from. What is in it may have changed since.
type File struct {
	Name string `json:"name"`
	// Sum is the hash of its content, all zeros if it could not be read.
	Sum [sha256.Size]byte `json:"-"`
}

// ReadFile reads a file as [LoadFiles] does, to see whether it has changed since.
func ReadFile(name string) File {
	data, err := readRegular(name)
	return newFile(name, data, err)
}

func newFile(name string, data []byte, err error) File {
	f := File{Name: name}
	if err == nil {
		f.Sum = sha256.Sum256(data)
	}
	return f
}

// LoadFiles is [Load]. It also returns the files that it has read or tried to read, the
// configuration file first and then the lists that it names, in order. They are complete even if
// the configuration has problems: the file that has to change may be any of them.
func LoadFiles(name string, env func(string) (string, bool)) (*Config, []File, error) {
	d := newDecoder(name, env)
	if name == "" {
		c, err := d.finish(nil, nil)
		return c, d.files, err
	}
	data, err := readFile(name)
	d.noteFile(name, data, err)
	if err != nil {
		return nil, d.files, Problems{*cannotRead(name, err)}
	}
	c, err := d.parse(data)
	return c, d.files, err
}

func (d *decoder) noteFile(name string, data []byte, err error) {
	d.files = append(d.files, newFile(name, data, err))
}
