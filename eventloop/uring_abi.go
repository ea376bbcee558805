package eventloop

// The kernel's interface of io_uring as far as it is used here: include/uapi/linux/io_uring.h of
// Linux 6.1, described in io_uring_setup(2), io_uring_enter(2) and io_uring_register(2). Names
// follow the header.

const (
	setupCQSize       = 1 << 3  // IORING_SETUP_CQSIZE
	setupRDisabled    = 1 << 6  // IORING_SETUP_R_DISABLED: the ring starts when its thread enables it
	setupSingleIssuer = 1 << 12 // IORING_SETUP_SINGLE_ISSUER, Linux 6.0
	setupDeferTaskrun = 1 << 13 // IORING_SETUP_DEFER_TASKRUN, Linux 6.1

	enterGetEvents = 1 << 0 // IORING_ENTER_GETEVENTS
	enterExtArg    = 1 << 3 // IORING_ENTER_EXT_ARG

	registerEnableRings = 12 // IORING_REGISTER_ENABLE_RINGS
	registerPbufRing    = 22 // IORING_REGISTER_PBUF_RING

	offSQRing = 0          // IORING_OFF_SQ_RING
	offSQEs   = 0x10000000 // IORING_OFF_SQES

	opNop         = 0  // IORING_OP_NOP
	opPollAdd     = 6  // IORING_OP_POLL_ADD
	opAccept      = 13 // IORING_OP_ACCEPT
	opAsyncCancel = 14 // IORING_OP_ASYNC_CANCEL
	opConnect     = 16 // IORING_OP_CONNECT
	opRead        = 22 // IORING_OP_READ
	opSend        = 26 // IORING_OP_SEND
	opRecv        = 27 // IORING_OP_RECV

	sqeBufferSelect = 1 << 5 // IOSQE_BUFFER_SELECT

	recvsendPollFirst = 1 << 0 // IORING_RECVSEND_POLL_FIRST
	recvMultishot     = 1 << 1 // IORING_RECV_MULTISHOT; sqe->optlen bounds all its bytes: Linux 6.17
	acceptMultishot   = 1 << 0 // IORING_ACCEPT_MULTISHOT

	pollAddMulti = 1 << 0 // IORING_POLL_ADD_MULTI

	cqeBuffer       = 1 << 0 // IORING_CQE_F_BUFFER
	cqeMore         = 1 << 1 // IORING_CQE_F_MORE
	cqeSockNonempty = 1 << 2 // IORING_CQE_F_SOCK_NONEMPTY
	cqeBufferShift  = 16     // IORING_CQE_BUFFER_SHIFT
)

// sqOffsets is struct io_sqring_offsets.
type sqOffsets struct {
	head, tail, ringMask, ringEntries, flags, dropped, array, resv1 uint32
	userAddr                                                        uint64
}

// cqOffsets is struct io_cqring_offsets.
type cqOffsets struct {
	head, tail, ringMask, ringEntries, overflow, cqes, flags, resv1 uint32
	userAddr                                                        uint64
}

// setupParams is struct io_uring_params.
type setupParams struct {
	sqEntries, cqEntries, flags, sqThreadCPU, sqThreadIdle, features, wqFD uint32
	resv                                                                   [3]uint32
	sq                                                                     sqOffsets
	cq                                                                     cqOffsets
}

// submission is struct io_uring_sqe, 64 bytes.
type submission struct {
	opcode, flags uint8
	ioprio        uint16
	fd            int32
	off, addr     uint64
	len           uint32
	opFlags       uint32
	userData      uint64
	bufGroup      uint16
	personality   uint16
	fileIndex     int32
	addr3, pad    uint64
}

// cqe is struct io_uring_cqe.
type cqe struct {
	userData uint64
	res      int32
	flags    uint32
}

// providedBuffer is struct io_uring_buf. The ring's tail lies in the resv field of its first entry.
type providedBuffer struct {
	addr      uint64
	len       uint32
	bid, resv uint16
}

// providedRing is struct io_uring_buf_reg.
type providedRing struct {
	addr        uint64
	entries     uint32
	bgid, flags uint16
	resv        [3]uint64
}

// geteventsArg is struct io_uring_getevents_arg.
type geteventsArg struct {
	sigmask   uint64
	sigmaskSz uint32
	pad       uint32
	ts        uint64
}
