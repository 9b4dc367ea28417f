# gnuplot transfer-sgd.gnuplot  writes transfer-sgd.svg and transfer-sgd.png
data = 'transfer-sgd.dat'
do for [format in 'svg png'] {
reset
if (format eq 'svg') { set terminal svg noenhanced size 1500,510 font 'sans,10' background 'white' } else { set terminal pngcairo noenhanced size 1500,510 font 'sans,8' }
set output 'transfer-sgd'.'.'.format
set multiplot layout 1,3 title 'Learning rate transfer, SGD' margins screen 0.0467, screen 0.9900, screen 0.2059, screen 0.9020 spacing screen 0.0467, screen 0.1373
unset key
set grid lc rgb '#dddddd'
set tics nomirror
set logscale x
set xlabel 'peak learning rate' offset 0,0.5
set ylabel 'loss above the best of the width (nats per token)' offset 1,0
set format y '%g'
set xtics ('0.1' 0.1, '0.141' 0.14142135623730953, '0.2' 0.2, '0.283' 0.282842712474619, '0.4' 0.4, '0.8' 0.8)
set xrange [0.07692307692307693:1.04]
set yrange [-0.030939637044075596:0.30719952157116676]
set title 'SP' tc rgb 'black'
unset object
unset arrow
unset label
set arrow from 0.1916353176465487,graph 0 to 0.1916353176465487,graph 1 nohead dt 2 lw 1.5 lc rgb '#555555'
set object rectangle from 0.1709566037541191,graph 0 to 0.21481530495489137,graph 1 behind fc rgb '#0072b2' fs transparent solid 0.15 noborder
set object rectangle from 0.204717589490724,graph 0 to 0.21591828089881765,graph 1 behind fc rgb '#d55e00' fs transparent solid 0.15 noborder
set object rectangle from 0.2561195931899556,graph 0 to 0.33084847892471064,graph 1 behind fc rgb '#009e73' fs transparent solid 0.15 noborder
set object rectangle from 0.2762201404720164,graph 0 to 0.2980738461762311,graph 1 behind fc rgb '#cc79a7' fs transparent solid 0.15 noborder
plot data index 0 using 1:2:3 with yerrorbars pt 0 lc rgb '#0072b2', \
  data index 1 using 1:2:3 with yerrorbars pt 0 lc rgb '#d55e00', \
  data index 2 using 1:2:3 with yerrorbars pt 0 lc rgb '#009e73', \
  data index 3 using 1:2:3 with yerrorbars pt 0 lc rgb '#cc79a7', \
  data index 0 using 1:2 with linespoints pt 7 ps 0.35 lc rgb '#0072b2' lw 1.5, \
  data index 1 using 1:2 with linespoints pt 7 ps 0.35 lc rgb '#d55e00' lw 1.5, \
  data index 2 using 1:2 with linespoints pt 7 ps 0.35 lc rgb '#009e73' lw 1.5, \
  data index 3 using 1:2 with linespoints pt 7 ps 0.35 lc rgb '#cc79a7' lw 1.5, \
  '+' every ::::0 using (0.1916353176465487):(0) with points pt 3 ps 1.4 lw 2 lc rgb '#0072b2', \
  '+' every ::::0 using (0.21024335897380203):(0) with points pt 3 ps 1.4 lw 2 lc rgb '#d55e00', \
  '+' every ::::0 using (0.29109582241886):(0) with points pt 3 ps 1.4 lw 2 lc rgb '#009e73', \
  '+' every ::::0 using (0.28693901732220517):(0) with points pt 3 ps 1.4 lw 2 lc rgb '#cc79a7'
set title 'MUP' tc rgb 'black'
unset object
unset arrow
unset label
set arrow from 0.1916353176465487,graph 0 to 0.1916353176465487,graph 1 nohead dt 2 lw 1.5 lc rgb '#555555'
set object rectangle from 0.1709566037541191,graph 0 to 0.21481530495489137,graph 1 behind fc rgb '#0072b2' fs transparent solid 0.15 noborder
set object rectangle from 0.15335385151857067,graph 0 to 0.17569361952892568,graph 1 behind fc rgb '#d55e00' fs transparent solid 0.15 noborder
set object rectangle from 0.15560198622684668,graph 0 to 0.16136345019623938,graph 1 behind fc rgb '#009e73' fs transparent solid 0.15 noborder
set object rectangle from 0.14318061383842454,graph 0 to 0.15432933162610035,graph 1 behind fc rgb '#cc79a7' fs transparent solid 0.15 noborder
plot data index 4 using 1:2:3 with yerrorbars pt 0 lc rgb '#0072b2', \
  data index 5 using 1:2:3 with yerrorbars pt 0 lc rgb '#d55e00', \
  data index 6 using 1:2:3 with yerrorbars pt 0 lc rgb '#009e73', \
  data index 7 using 1:2:3 with yerrorbars pt 0 lc rgb '#cc79a7', \
  data index 4 using 1:2 with linespoints pt 7 ps 0.35 lc rgb '#0072b2' lw 1.5, \
  data index 5 using 1:2 with linespoints pt 7 ps 0.35 lc rgb '#d55e00' lw 1.5, \
  data index 6 using 1:2 with linespoints pt 7 ps 0.35 lc rgb '#009e73' lw 1.5, \
  data index 7 using 1:2 with linespoints pt 7 ps 0.35 lc rgb '#cc79a7' lw 1.5, \
  '+' every ::::0 using (0.1916353176465487):(0) with points pt 3 ps 1.4 lw 2 lc rgb '#0072b2', \
  '+' every ::::0 using (0.16414412338551485):(0) with points pt 3 ps 1.4 lw 2 lc rgb '#d55e00', \
  '+' every ::::0 using (0.15845653459214518):(0) with points pt 3 ps 1.4 lw 2 lc rgb '#009e73', \
  '+' every ::::0 using (0.1486504908686777):(0) with points pt 3 ps 1.4 lw 2 lc rgb '#cc79a7'
set title 'GDN_MUP' tc rgb 'black'
unset object
unset arrow
unset label
set arrow from 0.18653682083622208,graph 0 to 0.18653682083622208,graph 1 nohead dt 2 lw 1.5 lc rgb '#555555'
set object rectangle from 0.17171200936012224,graph 0 to 0.20264153717233074,graph 1 behind fc rgb '#0072b2' fs transparent solid 0.15 noborder
set object rectangle from 0.16228960974767218,graph 0 to 0.1663800129541551,graph 1 behind fc rgb '#d55e00' fs transparent solid 0.15 noborder
set object rectangle from 0.17354586789784843,graph 0 to 0.1802661395163102,graph 1 behind fc rgb '#009e73' fs transparent solid 0.15 noborder
set object rectangle from 0.14529358585285965,graph 0 to 0.16168075584000485,graph 1 behind fc rgb '#cc79a7' fs transparent solid 0.15 noborder
plot data index 8 using 1:2:3 with yerrorbars pt 0 lc rgb '#0072b2', \
  data index 9 using 1:2:3 with yerrorbars pt 0 lc rgb '#d55e00', \
  data index 10 using 1:2:3 with yerrorbars pt 0 lc rgb '#009e73', \
  data index 11 using 1:2:3 with yerrorbars pt 0 lc rgb '#cc79a7', \
  data index 8 using 1:2 with linespoints pt 7 ps 0.35 lc rgb '#0072b2' lw 1.5, \
  data index 9 using 1:2 with linespoints pt 7 ps 0.35 lc rgb '#d55e00' lw 1.5, \
  data index 10 using 1:2 with linespoints pt 7 ps 0.35 lc rgb '#009e73' lw 1.5, \
  data index 11 using 1:2 with linespoints pt 7 ps 0.35 lc rgb '#cc79a7' lw 1.5, \
  '+' every ::::0 using (0.18653682083622208):(0) with points pt 3 ps 1.4 lw 2 lc rgb '#0072b2', \
  '+' every ::::0 using (0.1643220842496299):(0) with points pt 3 ps 1.4 lw 2 lc rgb '#d55e00', \
  '+' every ::::0 using (0.17687408977844293):(0) with points pt 3 ps 1.4 lw 2 lc rgb '#009e73', \
  '+' every ::::0 using (0.15326831629333892):(0) with points pt 3 ps 1.4 lw 2 lc rgb '#cc79a7'
unset margins
unset title
unset xlabel
unset ylabel
unset tics
unset border
unset logscale
unset object
unset arrow
unset label
set key center center horizontal Left reverse samplen 3
set size 1,0.11764705882352941
set origin 0,0
set xrange [0:1]
set yrange [0:1]
plot NaN with lines lw 3 lc rgb '#0072b2' title 'width 64', \
  NaN with lines lw 3 lc rgb '#d55e00' title 'width 128', \
  NaN with lines lw 3 lc rgb '#009e73' title 'width 256', \
  NaN with lines lw 3 lc rgb '#cc79a7' title 'width 512', \
  NaN with points pt 3 ps 1.4 lw 2 lc rgb 'black' title 'best of the width ± standard error', \
  NaN with lines dt 2 lw 1.5 lc rgb '#555555' title 'best lr of width 64'
unset multiplot
unset output
}
