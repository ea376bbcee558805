package eventloop
import ("testing";"fmt")
func debugDump(t *testing.T, d *driver, first Slot, n int, held []result) {
	done := map[Slot]bool{}
	for _, r := range d.pending { done[r.Slot]=true }
	for _, r := range held { if r.N>0 {done[r.Slot]=true} }
	u, ok := d.loop.engine.(*uring)
	if !ok {return}
	d.do(func(){
		for i:=0;i<n;i++ { s:=first+Slot(i); if !done[s] { so:=d.loop.table.at(s); fmt.Printf("missing slot %d in=%+v flags=%x fd=%d\n", s, so.in, so.flags, so.fd) } }
		fmt.Printf("tail %d sqhead %d sqtail %d cqhead %d cqtail %d prov %d out %d starved %v buftail %d\n", u.tail, *u.sqHead, *u.sqTail, *u.cqHead, *u.cqTail, u.buffers.provided, u.buffers.out, u.starved, u.buffers.tail)
	})
}
