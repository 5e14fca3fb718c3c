package trace

// dropped reports whether the kernel, having freed a packet for a reason at a place,
// has dropped it. skb:kfree_skb tells of more than of drops.
func dropped(reason, place string) bool {
	switch reason {
	case "CONSUMED", "PACKET_SOCK_ERROR":
		// The second is a tap's: the packet went on.
		return false
	case "TCP_RESET":
		// A RST that was accepted; RESET_RECEIVED tells of it.
		return false
	}
	switch place {
	case "packet_rcv", "packet_rcv_spkt", "tpacket_rcv":
		// Taps of kernels that have no reason for it.
		return false
	case "sk_stream_kill_queues", "inet_sock_destruct":
		// What TCP had taken and nobody wanted, of kernels that have no reason for it.
		return false
	}
	return true
}
