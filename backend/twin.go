package backend

// CopyTo gives a backend that is not in use the address of b, and everything of its live state that
// decides about picks. It is called under the lock of the balancer of b.
func (b *Backend) CopyTo(twin *Backend) {
	twin.Address, twin.Sockaddr = b.Address, b.Sockaddr
	twin.health.Store(b.health.Load())
	twin.admin.Store(b.admin.Load())
	twin.active.Store(b.active.Load())
	twin.backoff.until.Store(b.backoff.until.Load())
	twin.backoff.failures.Store(b.backoff.failures.Load())
	twin.backoff.probing.Store(b.backoff.probing.Load())
	twin.outlier.ejectedUntil.Store(b.outlier.ejectedUntil.Load())
	twin.outlier.failures.Store(b.outlier.failures.Load())
	twin.outlier.ejections.Store(b.outlier.ejections.Load())
	twin.outlier.answered.Store(b.outlier.answered.Load())
}
