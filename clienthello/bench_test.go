package clienthello

import "testing"

func BenchmarkParse(b *testing.B) {
	for name, hello := range realHellos(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := Parse(hello); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkOracle is the same with crypto/tls.
func BenchmarkOracle(b *testing.B) {
	hello := realHellos(b)["chromium"]
	for b.Loop() {
		if info, err := oracle(hello); info == nil {
			b.Fatal(err)
		}
	}
}
