module l4proxy/bench

go 1.26.0

require (
	github.com/HdrHistogram/hdrhistogram-go v1.4.0
	github.com/google/go-cmp v0.7.0
	github.com/inetaf/tcpproxy v0.0.0-20260515195445-c159a6051109
	go.uber.org/goleak v1.3.0
	golang.org/x/sys v0.49.0
	l4proxy v0.0.0
	pgregory.net/rapid v1.3.0
)

require github.com/prometheus/procfs v0.23.0

replace l4proxy => ../
