package config

// Bans says how banned clients are treated, and where bans are kept.
type Bans struct {
	// File is where bans are saved; "" keeps them in memory only.
	File string
	// With is what a banned client sees if its ban does not say.
	With DenyAction
}

func (b *Bans) fields() fields {
	return fields{
		{"file", fileName(&b.File), "Where the bans are saved, so that they outlive a restart. The path is relative to the configuration file, and its directory must be writable. If omitted, bans outlive reloads and upgrades only."},
		{"with", enum(&b.With, denyActions, DenyReset), "What a banned client sees, unless its ban says something else: the same words as in deny rules."},
	}
}

// fileNameValue is the name of a file that the program opens, relative to the configuration file.
type fileNameValue struct{ textValue }

func fileName(dst *string) value {
	return fileNameValue{text(dst, "the name of a file").full("write the name of a file, or remove the key")}
}

func (v fileNameValue) decode(d *decoder, n *node, p *path) {
	before := *v.dst
	*v.dst = ""
	v.textValue.decode(d, n, p)
	if *v.dst == "" {
		*v.dst = before
		return
	}
	*v.dst = d.beside(*v.dst)
}
