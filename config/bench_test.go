package config

import (
	"fmt"
	"testing"
)

// BenchmarkParse times the whole way from text to configuration: expansion, the tree with its
// positions, decoding and every check.
func BenchmarkParse(b *testing.B) {
	for _, n := range []int{2, 100, 10_000} {
		yaml, json := manyBackends(n)
		plainYAML, plainJSON := manyAddresses(n)
		for _, file := range []struct{ name, text string }{
			{"config.json", json}, {"config.yaml", yaml}, {"addresses.json", plainJSON}, {"addresses.yaml", plainYAML},
		} {
			b.Run(fmt.Sprintf("%s/backends=%d", file.name, n), func(b *testing.B) {
				data := []byte(file.text)
				b.SetBytes(int64(len(data)))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := Parse(file.name, data, nil); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
