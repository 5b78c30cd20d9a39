//! TCP over Ethernet: embassy-net, with an address from DHCP or from what was provisioned.

use core::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use embassy_net::driver::Driver;
use embassy_net::tcp::client::{TcpClient, TcpClientState, TcpConnection};
use embassy_net::{Config, Ipv4Cidr, Runner, Stack, StackResources, StaticConfigV4};
use embassy_time::Duration;
use embedded_nal_async::TcpConnect as _;
use firmware::mqtt::drive::Connect;
use firmware::provision::{Address, Addressing};
use static_cell::StaticCell;

/// Bytes that wait to be acknowledged by the other end: two frames.
const TX_LEN: usize = 2048;
/// Bytes that wait to be read: acknowledgements.
const RX_LEN: usize = 512;
/// One for the connection, one for DHCP, and one for a connection that is being closed.
const SOCKETS: usize = 3;
/// A connection whose other end does not take what was sent for so long is given up, and one that is not
/// answered. Longer than the client's own patience, which knows why it waits.
const SILENCE: Duration = Duration::from_secs(150);

/// A connection that is open.
pub type Connection = TcpConnection<'static, 1, TX_LEN, RX_LEN>;

type Client = TcpClient<'static, 1, TX_LEN, RX_LEN>;

/// Connects to the agent.
#[allow(missing_debug_implementations, reason = "the network's stack has none")]
pub struct Tcp {
    stack: Stack<'static>,
    client: &'static Client,
    agent: SocketAddr,
}

/// The network, once a board's driver is there; the runner has to be run.
pub fn start<D: Driver>(
    driver: D,
    (addressing, agent, port): (Addressing, Address, u16),
    seed: u64,
) -> (Tcp, Runner<'static, D>) {
    static RESOURCES: StaticCell<StackResources<SOCKETS>> = StaticCell::new();
    static STATE: StaticCell<TcpClientState<1, TX_LEN, RX_LEN>> = StaticCell::new();
    static CLIENT: StaticCell<Client> = StaticCell::new();
    let config = match addressing {
        Addressing::Dhcp => Config::dhcpv4(embassy_net::DhcpConfig::default()),
        Addressing::Static { address, prefix, gateway } => Config::ipv4_static(StaticConfigV4 {
            address: Ipv4Cidr::new(Ipv4Addr::from(address), prefix),
            gateway: gateway.map(Ipv4Addr::from),
            dns_servers: heapless::Vec::new(),
        }),
    };
    let resources = RESOURCES.init_with(StackResources::new);
    let (stack, runner) = embassy_net::new(driver, config, resources, seed);
    let mut client = Client::new(stack, STATE.init_with(TcpClientState::new));
    client.set_timeout(Some(SILENCE));
    let agent = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::from(agent), port));
    (Tcp { stack, client: CLIENT.init(client), agent }, runner)
}

impl Connect for Tcp {
    type Io = Connection;
    type Error = embassy_net::tcp::Error;

    async fn connect(&mut self) -> Result<Self::Io, Self::Error> {
        self.stack.wait_config_up().await;
        let client: &'static Client = self.client;
        client.connect(self.agent).await
    }
}
