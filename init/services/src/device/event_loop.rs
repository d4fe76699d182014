//! The loop: the kernel's uevents, buttons and signals.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use nix::sys::signalfd::SignalFd;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use crate::device::drivers::Drivers;
use crate::device::handler::Handler;
use crate::device::monitor::{Monitor, Received};
use crate::device::power::Button;
use crate::device::{cold_plug, power};

const SIGNALS: u64 = 0;
const UEVENTS: u64 = 1;
const FIRST_BUTTON: u64 = 16;
/// Buttons that are watched at most.
const BUTTONS_MAX: usize = 16;
/// Longest time that READY waits for links that still come.
const SETTLE_MAX: Duration = Duration::from_secs(30);
/// Presses within this time are one.
const PRESS_AGAIN: Duration = Duration::from_secs(5);

/// Handles what is there, then what comes, until a signal says to end.
pub(crate) fn run() -> io::Result<()> {
    let signals = crate::signals::open()?;
    // Before the walk, so that no device falls between.
    let monitor = Monitor::open()?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(
        &epoll,
        &signals,
        epoll::EventData::new_u64(SIGNALS),
        epoll::EventFlags::IN,
    )?;
    epoll::add(
        &epoll,
        monitor.socket(),
        epoll::EventData::new_u64(UEVENTS),
        epoll::EventFlags::IN,
    )?;
    let mut service = Service {
        epoll,
        signals,
        monitor,
        handler: Handler::new(Drivers::start()?),
        buttons: HashMap::new(),
        next_button: FIRST_BUTTON,
        pressed: None,
    };
    service.cold_plug()?;
    service.handler.teller.tell();
    crate::notify::ready("devices are handled as they come");
    service.run()
}

struct Service {
    epoll: OwnedFd,
    signals: SignalFd,
    monitor: Monitor,
    handler: Handler,
    /// By token: the node and its button.
    buttons: HashMap<u64, (String, Button)>,
    next_button: u64,
    pressed: Option<Instant>,
}

impl Service {
    /// Walks all devices, then takes the events of the links that got a driver by it.
    fn cold_plug(&mut self) -> io::Result<()> {
        let began = Instant::now();
        let (mut count, handler) = (0, &mut self.handler);
        cold_plug::walk(&mut |device| {
            count += 1;
            handler.handle(&device);
        });
        // What a driver brings up may want one itself.
        loop {
            let settled = self
                .handler
                .settle(SETTLE_MAX.saturating_sub(began.elapsed()));
            if !settled {
                self.handler.mention_stuck();
            }
            if self.take_events()? == 0 || !settled {
                break;
            }
        }
        self.handler.load_rest();
        self.watch_buttons();
        log::info!("{count} devices in {} ms", began.elapsed().as_millis());
        Ok(())
    }

    fn run(&mut self) -> io::Result<()> {
        let watchdog = crate::notify::watchdog_period().unwrap_or(Duration::from_secs(60));
        let mut events = Vec::with_capacity(32);
        let mut fed = Instant::now();
        loop {
            let timeout = Timespec {
                tv_sec: watchdog.as_secs() as i64,
                tv_nsec: i64::from(watchdog.subsec_nanos()),
            };
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                match event.data.u64() {
                    SIGNALS => {
                        if matches!(self.signals.read_signal(), Ok(Some(_))) {
                            crate::notify::stopping();
                            return Ok(());
                        }
                    }
                    UEVENTS => {
                        self.take_events()?;
                        self.watch_buttons();
                        self.handler.teller.tell();
                    }
                    token => self.read_button(token),
                }
            }
            if fed.elapsed() >= watchdog {
                fed = Instant::now();
                crate::notify::watchdog();
                self.handler.mention_stuck();
                // PID 1 may have lost what it was told.
                self.handler.teller.tell();
            }
        }
    }

    /// Handles the events that are there; says how many.
    fn take_events(&mut self) -> io::Result<usize> {
        let mut count = 0;
        loop {
            match self.monitor.receive()? {
                Received::Device(device) => {
                    self.handler.handle(&device);
                    count += 1;
                }
                Received::Nothing => {}
                Received::Empty => return Ok(count),
                Received::Overrun => {
                    log::warn!("uevents were lost; all devices are looked at anew");
                    let handler = &mut self.handler;
                    cold_plug::walk(&mut |device| handler.handle(&device));
                }
            }
        }
    }

    fn watch_buttons(&mut self) {
        for (node, button) in std::mem::take(&mut self.handler.new_buttons) {
            // A device that came during the walk is announced too.
            if self.buttons.values().any(|(known, _)| *known == node) {
                continue;
            }
            if self.buttons.len() >= BUTTONS_MAX {
                log::warn!("{node}: not watched, {BUTTONS_MAX} buttons are");
                continue;
            }
            let token = self.next_button;
            self.next_button += 1;
            match epoll::add(
                &self.epoll,
                button.file(),
                epoll::EventData::new_u64(token),
                epoll::EventFlags::IN,
            ) {
                Ok(()) => {
                    log::info!("/dev/{node}: {} can power off", button.name());
                    self.buttons.insert(token, (node, button));
                }
                Err(error) => log::warn!("{node}: not watched: {error}"),
            }
        }
    }

    fn read_button(&mut self, token: u64) {
        match self
            .buttons
            .get_mut(&token)
            .map(|(_, button)| button.read())
        {
            Some(Ok(false)) | None => {}
            Some(Ok(true)) => {
                if self.pressed.is_some_and(|at| at.elapsed() < PRESS_AGAIN) {
                    return;
                }
                self.pressed = Some(Instant::now());
                log::info!("the power button was pressed");
                if let Err(error) = power::ask_poweroff() {
                    log::error!("PID 1 was asked to power off and did not: {error}");
                }
            }
            Some(Err(_)) => {
                self.buttons.remove(&token);
            }
        }
    }
}
