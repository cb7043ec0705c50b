//! Which addresses are public: none of IANA's special-purpose registries (RFC 6890), in IPv4, in IPv6, and in IPv6 that
//! carries IPv4.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Blocks of IPv4 that nobody on the public internet has: network, prefix length.
const SPECIAL_V4: [([u8; 4], u8); 19] = [
    ([0, 0, 0, 0], 8),       // this network
    ([10, 0, 0, 0], 8),      // private
    ([100, 64, 0, 0], 10),   // shared, behind carriers' translation
    ([127, 0, 0, 0], 8),     // loopback
    ([169, 254, 0, 0], 16),  // link-local, metadata services of clouds among them
    ([172, 16, 0, 0], 12),   // private
    ([192, 0, 0, 0], 24),    // protocol assignments
    ([192, 0, 2, 0], 24),    // documentation
    ([192, 31, 196, 0], 24), // AS112
    ([192, 52, 193, 0], 24), // AMT
    ([192, 88, 99, 0], 24),  // 6to4 relays, deprecated
    ([192, 168, 0, 0], 16),  // private
    ([192, 175, 48, 0], 24), // AS112
    ([198, 18, 0, 0], 15),   // benchmarks
    ([198, 51, 100, 0], 24), // documentation
    ([203, 0, 113, 0], 24),  // documentation
    ([224, 0, 0, 0], 4),     // multicast
    ([240, 0, 0, 0], 4),     // reserved, broadcast among them
    // Answers on machines of one cloud alone, though its block is public: their platform's own services.
    ([168, 63, 129, 16], 32),
];

/// Blocks of IPv6 that nobody on the public internet has, those that carry IPv4 to another end among them.
const SPECIAL_V6: [([u16; 8], u8); 16] = [
    ([0, 0, 0, 0, 0, 0, 0, 0], 96),         // unspecified, loopback, IPv4-compatible
    ([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96), // NAT64
    ([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), // NAT64 of one network
    ([0x100, 0, 0, 0, 0, 0, 0, 0], 64),     // discard
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),    // protocol assignments, Teredo among them
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), // documentation
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16),    // 6to4
    ([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48), // AS112
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),    // documentation
    ([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16),    // segment routing
    ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7),     // unique local
    ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),    // link-local
    ([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10),    // site-local, deprecated
    ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8),     // multicast
    ([0, 0, 0, 0, 0xffff, 0, 0, 0], 96),    // IPv4-translated
    ([0x4000, 0, 0, 0, 0, 0, 0, 0], 2),     // not allocated to anybody
];

/// The part of IPv6 that is allocated to the public internet (RFC 4291 §2.4): the rest is reserved or special.
const GLOBAL_UNICAST_V6: ([u16; 8], u8) = ([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// Whether the address belongs to somebody on the public internet. An IPv4 address in IPv6 clothes (`::ffff:0:0/96`) is
/// judged as IPv4.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(mapped) => is_public_v4(mapped),
            None => is_public_v6(address),
        },
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let bits = address.to_bits();
    !SPECIAL_V4.iter().any(|(network, prefix)| {
        let shift = 32 - u32::from(*prefix);
        bits >> shift == u32::from_be_bytes(*network) >> shift
    })
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let within = |(network, prefix): &([u16; 8], u8)| {
        let shift = 128 - u32::from(*prefix);
        address.to_bits() >> shift == Ipv6Addr::from(*network).to_bits() >> shift
    };
    within(&GLOBAL_UNICAST_V6) && !SPECIAL_V6.iter().any(within)
}

#[cfg(test)]
mod tests {
    use ipnet::{IpNet, Ipv4Net};
    use proptest::prelude::*;

    use super::*;

    /// The registries as they are published, apart from the tables above: what one has wrong the other shows.
    const REGISTRIES: [&str; 35] = [
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/128",
        "::1/128",
        "::/96",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "100::/64",
        "100:0:0:1::/64",
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "3fff::/20",
        "5f00::/16",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
        "2620:4f:8000::/48",
    ];

    fn networks() -> Vec<IpNet> {
        REGISTRIES.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn special_v4() -> Vec<Ipv4Net> {
        networks()
            .into_iter()
            .filter_map(|network| match network {
                IpNet::V4(network) => Some(network),
                IpNet::V6(_) => None,
            })
            .collect()
    }

    #[test]
    fn the_first_and_the_last_address_of_every_registry_are_refused() {
        for network in networks() {
            for address in [network.network(), network.broadcast()] {
                assert!(!is_public(address), "{address} of {network}");
            }
        }
    }

    #[test]
    fn the_neighbours_of_registries_are_public() {
        for text in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.0.3.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2001:200::",
            "2001:db7:ffff::",
            "2001:db9::",
            "2003::",
            "2606:4700:4700::1111",
            "3ffe:ffff::",
            "::ffff:1.1.1.1",
        ] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn an_ipv4_address_is_public_unless_a_registry_has_it(bits: u32) {
            let address = Ipv4Addr::from_bits(bits);
            let special = special_v4().iter().any(|network| network.contains(&address));
            prop_assert_eq!(is_public(address.into()), !special && bits != 0xa83f_8110);
        }

        #[test]
        fn every_address_of_a_registry_is_refused(index in 0..REGISTRIES.len(), offset: u128) {
            let address = match networks()[index] {
                IpNet::V4(network) => {
                    let offset = u32::try_from(offset & u128::from(u32::MAX)).unwrap();
                    IpAddr::V4(Ipv4Addr::from_bits(network.network().to_bits() | (offset & network.hostmask().to_bits())))
                }
                IpNet::V6(network) => {
                    IpAddr::V6(Ipv6Addr::from_bits(network.network().to_bits() | (offset & network.hostmask().to_bits())))
                }
            };
            prop_assert!(!is_public(address), "{}", address);
        }

        /// Mapped addresses are what they carry; every other way to carry one is refused, whatever it carries.
        #[test]
        fn an_embedded_ipv4_address_opens_nothing(bits: u32) {
            let inner = Ipv4Addr::from_bits(bits);
            prop_assert_eq!(is_public(inner.to_ipv6_mapped().into()), is_public(inner.into()));
            let bits = u128::from(bits);
            for carrier in [
                bits,                                      // compatible
                (0x0064_ff9b_u128 << 96) | bits,           // NAT64
                (0x0064_ff9b_0001_u128 << 80) | bits,      // NAT64 of one network
                (0x2002_u128 << 112) | (bits << 80),       // 6to4
                (0x2001_u128 << 112) | !bits & 0xffff_ffff, // Teredo
                (0xffff_u128 << 48) | bits,                // translated
            ] {
                let address = Ipv6Addr::from_bits(carrier);
                if address.to_ipv4_mapped().is_none() {
                    prop_assert!(!is_public(address.into()), "{}", address);
                }
            }
        }

        #[test]
        fn ipv6_outside_of_global_unicast_is_refused(bits: u128) {
            let address = Ipv6Addr::from_bits(bits);
            if bits >> 125 != 1 && address.to_ipv4_mapped().is_none() {
                prop_assert!(!is_public(address.into()), "{}", address);
            }
        }
    }
}
