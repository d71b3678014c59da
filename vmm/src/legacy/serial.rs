//! The serial port: a 16550A by vm-superio on COM1.
//!
//! What the guest sends goes to any writer; what it receives waits at the reader's side until the
//! guest has emptied the port's 64 bytes, so that nothing is lost and nothing piles up.

use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vm_superio::serial::{Error, SerialEvents, SerialState as UartState};
use vm_superio::{Serial as Uart, Trigger};
use vmm_sys_util::eventfd::EventFd;

use super::Unfit;
use crate::bus::BusDevice;
use crate::terminal::Keyboard;

/// Number of ports.
pub const LEN: u64 = 8;
/// Interrupt identification: none is pending.
const NO_INTERRUPT: u8 = 1;

/// Where the guest's bytes go.
pub type Sink = Box<dyn Write + Send>;

/// The interrupt line's edge.
struct Edge(EventFd);

impl Trigger for Edge {
    type E = std::io::Error;

    fn trigger(&self) -> std::io::Result<()> {
        self.0.write(1)
    }
}

/// Counts how often the guest emptied the port, for those who wait to send more.
#[derive(Default)]
struct Emptied {
    /// Guards nothing but the count.
    times: Mutex<u64>,
    changed: Condvar,
}

/// vm-superio calls this while the port is locked.
struct Watch(Arc<Emptied>);

impl SerialEvents for Watch {
    fn buffer_read(&self) {}
    fn out_byte(&self) {}
    fn tx_lost_byte(&self) {}
    fn in_buffer_empty(&self) {
        *self.0.times.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.changed.notify_all();
    }
}

type Port = Uart<Edge, Watch, Sink>;

/// The port's registers and the bytes that the guest has not read yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SerialState {
    divisor: [u8; 2],
    interrupt_enable: u8,
    interrupt_identification: u8,
    line_control: u8,
    line_status: u8,
    modem_control: u8,
    modem_status: u8,
    scratch: u8,
    received: Vec<u8>,
}

/// The port.
pub struct Serial {
    /// Guards the port's registers and the order of the bytes sent.
    port: Mutex<Port>,
    emptied: Arc<Emptied>,
}

impl Serial {
    /// A port that sends to `sink` and pulses `interrupt`.
    pub fn new(interrupt: EventFd, sink: Sink) -> Self {
        let emptied = Arc::new(Emptied::default());
        let port = Uart::with_events(Edge(interrupt), Watch(Arc::clone(&emptied)), sink);
        Self {
            port: Mutex::new(port),
            emptied,
        }
    }

    /// Gives the guest as many of `bytes` as the port has room for; tells how many.
    pub fn receive(&self, bytes: &[u8]) -> usize {
        let mut port = self.lock();
        let room = port.fifo_capacity().min(bytes.len());
        match port.enqueue_raw_bytes(bytes) {
            Ok(taken) => taken,
            // The bytes are in the port, though the interrupt could not be raised once more.
            Err(Error::Trigger(_)) => room,
            Err(Error::FullFifo | Error::IOError(_)) => 0,
        }
    }

    /// Waits until the guest has emptied the port, at most for `timeout`.
    pub fn wait_for_room(&self, timeout: Duration) {
        let times = self.emptied.times.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *times;
        // Whether it was the guest or the time is all the same: the caller tries again.
        drop(
            self.emptied
                .changed
                .wait_timeout_while(times, timeout, |times| *times == before),
        );
    }

    /// As at power-on: registers at their defaults, bytes that the guest has not read gone.
    pub fn reset(&self) {
        let mut port = self.lock();
        // Through its own registers: they are all that the guest could have changed. First no
        // interrupts and no divisor access, then what is in the buffer.
        let _ = port.write(3, 0);
        let _ = port.write(1, 0);
        let _ = port.write(4, 0x08);
        for _ in 0..64 {
            port.read(0);
        }
        let _ = port.read(2);
        let _ = port.write(7, 0);
        let _ = port.write(3, 0x03);
    }

    /// The registers and what was received, for saving. What the guest sent has left already.
    pub fn state(&self) -> SerialState {
        let state = self.lock().state();
        SerialState {
            divisor: [state.baud_divisor_low, state.baud_divisor_high],
            interrupt_enable: state.interrupt_enable,
            interrupt_identification: state.interrupt_identification,
            line_control: state.line_control,
            line_status: state.line_status,
            modem_control: state.modem_control,
            modem_status: state.modem_status,
            scratch: state.scratch,
            received: state.in_buffer,
        }
    }

    /// Takes over what [`Self::state`] gave. An interrupt that was pending is raised again: a guest
    /// that waits for it to send its next byte would wait for ever. Also if its reason is turned off by now:
    /// the port raises none anew until the reason has been read.
    ///
    /// # Errors
    /// The state holds more bytes than the port, or an event of the host fails.
    pub fn restore(&self, state: &SerialState) -> Result<(), Unfit> {
        let state = UartState {
            baud_divisor_low: state.divisor[0],
            baud_divisor_high: state.divisor[1],
            interrupt_enable: state.interrupt_enable,
            interrupt_identification: state.interrupt_identification,
            line_control: state.line_control,
            line_status: state.line_status,
            modem_control: state.modem_control,
            modem_status: state.modem_status,
            scratch: state.scratch,
            in_buffer: state.received.clone(),
        };
        let failed = |error: Error<std::io::Error>| Unfit::new("serial port", error);
        let event = |port: &Port| {
            let event = port.interrupt_evt().0.try_clone();
            event.map(Edge).map_err(|error| Unfit::new("serial port", error))
        };
        let watch = || Watch(Arc::clone(&self.emptied));
        let mut port = self.lock();
        // Tried with a sink of its own first, so that the port's is not lost to a bad state.
        let silent: Sink = Box::new(std::io::sink());
        let tried = Port::from_state(&state, event(&port)?, watch(), silent).map_err(failed)?;
        let edge = event(&port)?;
        let sink = std::mem::replace(&mut *port, tried).into_writer();
        *port = Port::from_state(&state, edge, watch(), sink).map_err(failed)?;
        if state.interrupt_identification & NO_INTERRUPT == 0 {
            let raised = port.interrupt_evt().trigger();
            raised.map_err(|error| Unfit::new("serial port", error))?;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Port> {
        self.port.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keyboard for Arc<Serial> {
    fn press(&self, bytes: &[u8]) -> usize {
        self.receive(bytes)
    }
}

impl BusDevice for Serial {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let mut port = self.lock();
        for (place, byte) in (offset..LEN).zip(data) {
            *byte = port.read(place as u8);
        }
    }

    fn write(&self, offset: u64, data: &[u8]) {
        let mut port = self.lock();
        for (place, &byte) in (offset..LEN).zip(data) {
            // A sink that fails loses what the guest says; the guest must not stop for it.
            let _ = port.write(place as u8, byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Heard(Arc<Mutex<Vec<u8>>>);

    impl Write for Heard {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("not poisoned").extend(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn port() -> (Serial, EventFd, Heard) {
        let event = EventFd::new(libc::EFD_NONBLOCK).expect("descriptors are to be had");
        let other = event.try_clone().expect("descriptors are to be had");
        let heard = Heard::default();
        (Serial::new(event, Box::new(heard.clone())), other, heard)
    }

    #[test]
    fn what_the_guest_writes_is_heard() {
        let (serial, _, heard) = port();
        for byte in b"hello" {
            serial.write(0, &[*byte]);
        }
        assert_eq!(*heard.0.lock().expect("not poisoned"), b"hello");
    }

    #[test]
    fn what_it_is_sent_interrupts_and_waits_for_room() {
        let (serial, event, _) = port();
        serial.write(1, &[1]);
        assert_eq!(serial.receive(&[7; 100]), 64);
        assert!(event.read().is_ok(), "an interrupt was raised");
        assert_eq!(serial.receive(&[8]), 0);
        let mut byte = [0];
        for _ in 0..64 {
            serial.read(0, &mut byte);
            assert_eq!(byte, [7]);
        }
        assert_eq!(serial.receive(&[8]), 1);
    }

    #[test]
    fn a_reset_forgets_registers_and_unread_bytes() {
        let (serial, _, heard) = port();
        serial.receive(b"stale");
        serial.write(3, &[0x80]);
        serial.write(1, &[0x12]);
        serial.write(7, &[0x5a]);
        serial.reset();
        let shows = [1u64, 5, 7].map(|offset| {
            let mut byte = [0];
            serial.read(offset, &mut byte);
            byte[0]
        });
        assert_eq!(shows, [0, 0x60, 0], "no interrupts, nothing received, no scratch");
        serial.write(0, b"!");
        assert_eq!(*heard.0.lock().expect("not poisoned"), b"!");
    }

    #[test]
    fn a_restored_port_interrupts_again_and_hands_out_what_waited() {
        let (serial, event, _) = port();
        // Interrupts for received bytes and for an empty transmitter, whose reason is not read yet.
        serial.write(1, &[3]);
        serial.write(7, &[0x5a]);
        serial.write(0, b"a");
        serial.receive(b"waits");
        let state = serial.state();
        event.read().expect("interrupts were raised");
        let (fresh, event, heard) = port();
        fresh.restore(&state).expect("it was just saved");
        assert_eq!(fresh.state(), state);
        assert!(event.read().is_ok(), "the pending interrupt is raised again");
        let received: Vec<u8> = (0..5)
            .map(|_| {
                let mut byte = [0];
                fresh.read(0, &mut byte);
                byte[0]
            })
            .collect();
        assert_eq!(received, b"waits");
        fresh.write(0, b"b");
        assert_eq!(*heard.0.lock().expect("not poisoned"), b"b", "and nothing twice");
    }

    #[test]
    fn a_restored_port_interrupts_for_a_reason_that_the_guest_has_not_read_though_it_is_turned_off() {
        let (serial, event, _) = port();
        serial.write(1, &[2]);
        event.read().expect("an empty transmitter interrupts");
        // As a driver does while it prints with interrupts off; the one before is on its way.
        serial.write(1, &[0]);
        let (fresh, event, _) = port();
        fresh.restore(&serial.state()).expect("it was just saved");
        assert!(event.read().is_ok(), "it is on its way here, too");
        let mut reason = [0];
        fresh.read(2, &mut reason);
        fresh.write(1, &[2]);
        assert!(
            event.read().is_ok(),
            "once its reason is read, the next is raised"
        );
    }

    #[test]
    fn a_state_with_more_bytes_than_the_port_is_refused_and_the_port_works_on() {
        let (serial, _, heard) = port();
        let mut state = serial.state();
        state.received = vec![0; 65];
        let refusal = serial.restore(&state).expect_err("the port holds 64 bytes");
        assert!(refusal.to_string().contains("serial port"), "{refusal}");
        serial.write(0, b"!");
        assert_eq!(*heard.0.lock().expect("not poisoned"), b"!");
    }

    #[test]
    fn every_register_answers_at_every_width() {
        let (serial, _, _) = port();
        for offset in 0..LEN {
            for len in 1..=8 {
                serial.write(offset, &vec![0xff; len]);
                serial.read(offset, &mut vec![0; len]);
            }
        }
    }
}
