//! CUDA C goes to devices whose node found an NVRTC, and a provider without one is not the worse for it.

mod desk;

use desk::{Desk, device, id, order, spec};
use ion_protocol::{
    Attempt, NanoIo,
    advert::Advert,
    deal::RefusalReason,
    hardware::Device,
    job::{JobSpec, Source, Unmet},
};
use ion_scheduler::{
    Config, Effect, Input,
    event::{Event, RejectReason},
    input::{Answer, PeerInput},
};

fn cuda_c() -> JobSpec {
    let mut spec = spec();
    spec.program.modules[0].source = Source::CudaC;
    spec
}

fn with_nvrtc(index: u16) -> Device {
    Device { nvrtc: true, ..device(index) }
}

fn offers_nvrtc(advert: &mut Advert) {
    advert.devices = vec![with_nvrtc(0)];
}

/// Two providers, of which the cheaper has no NVRTC.
fn requester() -> Desk {
    let mut desk = Desk::requester();
    desk.offer(2, |advert| advert.price_per_second = NanoIo(100_000)).offer(3, offers_nvrtc);
    desk
}

#[test]
fn cuda_c_goes_to_who_has_an_nvrtc_and_ptx_to_the_cheapest() {
    for (spec, provider) in [(spec(), 2), (cuda_c(), 3)] {
        let mut desk = requester();
        desk.submit(spec, Vec::new()).disk_works();
        assert_eq!(desk.order_call().1, id(provider));
    }
}

#[test]
fn among_the_devices_of_a_provider_the_one_with_an_nvrtc_is_ordered() {
    let mut desk = Desk::requester();
    desk.offer(2, |advert| advert.devices = vec![device(0), with_nvrtc(1)]);
    desk.submit(cuda_c(), Vec::new()).disk_works();
    let order = desk.order_call().2.verify(&Config::default().network).expect("signed");
    assert_eq!(order.device, 1);
}

#[test]
fn who_has_none_is_told_with_the_way_out() {
    let desk = requester();
    let found = desk.engine.match_spec(&cuda_c(), desk.now);
    assert_eq!(found.candidates.iter().map(|c| c.provider).collect::<Vec<_>>(), [id(3)]);
    let [rejection] = &found.rejections[..] else { panic!("{found:?}") };
    assert_eq!(
        (rejection.provider, &rejection.reason),
        (id(2), &RejectReason::Unmet { unmet: Unmet::Nvrtc })
    );
    assert_eq!(
        rejection.reason.to_string(),
        "none of its devices has the NVRTC for CUDA C that is asked for"
    );
    assert!(found.would_change.iter().any(|said| said.contains("nvcc -ptx")), "{:?}", found.would_change);
    assert!(desk.engine.match_spec(&spec(), desk.now).rejections.is_empty());
}

#[test]
fn a_device_that_lacks_more_is_told_by_what_it_lacks_first() {
    let desk = requester();
    let mut large = cuda_c();
    large.needs.memory_min = ion_protocol::Bytes(1 << 40);
    let reasons = desk.engine.match_spec(&large, desk.now).rejections;
    assert!(reasons.iter().all(|r| r.reason == RejectReason::Unmet { unmet: Unmet::Memory }), "{reasons:?}");
}

#[test]
fn a_provider_refuses_cuda_c_that_it_cannot_compile_and_takes_what_it_can() {
    for nvrtc in [false, true] {
        let mut desk = Desk::provider();
        desk.feed(Input::Devices(vec![Device { nvrtc, ..device(0) }]));
        let (inbound, order) = (desk.inbound(), Box::new(order(desk.now, |o| o.spec = cuda_c())));
        desk.peer(1, PeerInput::Order { inbound, order });
        match nvrtc {
            true => {
                desk.disk_works();
                assert!(desk.has(|effect| matches!(effect, Effect::Work { .. })), "{:?}", desk.effects);
            }
            false => assert_eq!(desk.refusal(), RefusalReason::Unmet { unmet: Unmet::Nvrtc }),
        }
    }
}

#[test]
fn a_provider_that_lost_its_nvrtc_is_not_blamed_and_the_job_goes_on_elsewhere() {
    let mut desk = Desk::requester();
    desk.offer(2, |advert| {
        offers_nvrtc(advert);
        advert.price_per_second = NanoIo(100_000);
    });
    desk.offer(3, offers_nvrtc);
    let trust = |desk: &Desk| -> Vec<(u32, u64)> {
        desk.engine
            .offers(desk.now)
            .iter()
            .map(|o| (o.reliability_ppm, u64::from(o.failed + o.lost)))
            .collect()
    };
    let before = trust(&desk);
    desk.submit(cuda_c(), Vec::new()).disk_works();
    let (call, to, _) = desk.order_call();
    assert_eq!(to, id(2));
    let reason = RefusalReason::Unmet { unmet: Unmet::Nvrtc };
    desk.answer(call, 2, Ok(Answer::Refused { reason: reason.clone(), advert: None })).disk_works();
    assert!(desk.has_event(|event| matches!(event, Event::OrderRefused { reason: r, .. } if *r == reason)));
    let (_, to, order) = desk.order_call();
    assert_eq!(to, id(3));
    assert_eq!(order.verify(&Config::default().network).expect("signed").attempt, Attempt(2));
    assert_eq!(trust(&desk), before);
}
