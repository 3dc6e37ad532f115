//! What is written as the address of a process.

/// Whether this is `host:port`; else what is wrong with it, for whoever wrote it. `any`: port 0 may be written, for any.
pub(crate) fn check(address: &str, any: bool) -> Result<(), String> {
    let wrong =
        |why: &str| Err(format!("`{address}` is no address: {why}; `host:port` is wanted, such as 127.0.0.1:7100"));
    if address.contains("://") {
        return wrong("it is a URL");
    }
    let Some((host, port)) = address.rsplit_once(':') else { return wrong("it has no port") };
    match port.parse::<u16>() {
        _ if host.is_empty() => wrong("it has no host"),
        _ if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) => {
            wrong("an IPv6 address is written in brackets, [::1]:7100")
        }
        Err(_) => wrong("its port is no number up to 65535"),
        Ok(0) if !any => wrong("nobody is reached at port 0"),
        Ok(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_host_and_port_is_told_so() {
        for right in ["127.0.0.1:7100", "silo-1:7100", "[::1]:7100"] {
            assert_eq!(check(right, false), Ok(()));
        }
        let wrong = [
            ("foo", "no port"),
            (":7100", "no host"),
            ("a:b", "no number"),
            ("a:70000", "no number"),
            ("a:0", "port 0"),
            ("::1:7100", "brackets"),
            ("redis://a:6379", "a URL"),
        ];
        for (address, why) in wrong {
            let told = check(address, false).unwrap_err();
            assert!(told.contains(why) && told.contains("`host:port` is wanted"), "{told}");
        }
        assert_eq!(check("a:0", true), Ok(()));
    }
}
